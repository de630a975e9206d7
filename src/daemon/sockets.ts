import { closeSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { DEFAULT_PORT, type Endpoint, endpointText, LOCAL } from '../api/endpoint.js';
import { familyOf } from '../system/socket-options.js';
import type { PassedSocket } from '../systemd/listen-fds.js';
import { withSystemd } from '../systemd/systemd.js';
import type { Log } from './log.js';
import type { Access } from './serve.js';
import type { Servers } from './servers.js';

/** The unit of the socket whose callers may only look. */
const READ_SOCKET = 'wormholed-read.socket';

/** What sockets are opened with. */
export interface Opening {
  servers: Servers;
  /** Why there is no key to authenticate callers with; undefined when there is one. */
  noKey: string | undefined;
  log: Log;
}

/**
 * Opens the servers on the sockets that systemd has passed.
 *
 * Those of TCP are closed without a key. Their units are stopped too: a caller that is never accepted would make systemd
 * start the daemon again and again. wormholed-key.path starts them when the key changes.
 */
export async function openPassed(passed: PassedSocket[], { servers, noKey, log }: Opening): Promise<void> {
  for (const { fd, name } of passed) {
    const family = familyOf(fd);
    if (family === 'unix') await startListening(servers.create(family, accessOn(name)), { fd });
    else if (noKey === undefined) await startListening(servers.create(family), { fd });
    else {
      closeSync(fd);
      log.warn(`${noKey}; TCP stays closed until then`, { event: 'failed' });
      if (name.endsWith('.socket')) await stopUnit(name, log);
    }
  }
}

/** What callers on a unix socket of systemd's may do. */
function accessOn(name: string): Access {
  return name === READ_SOCKET ? 'read' : 'all';
}

/**
 * Opens the servers on endpoints, by default the usual ones; TCP is usual only with a key.
 *
 * @throws Error when it cannot listen on an endpoint, or one is of TCP while there is no key
 */
export async function openEndpoints(endpoints: Endpoint[], { servers, noKey, log }: Opening): Promise<void> {
  const anyAddress: Endpoint = { kind: 'tcp', host: '0.0.0.0', port: DEFAULT_PORT };
  const usual = noKey === undefined ? [LOCAL, anyAddress] : [LOCAL];
  if (endpoints.length === 0 && noKey !== undefined)
    log.warn(`${noKey}; not listening on TCP without it`, { event: 'failed' });
  for (const endpoint of endpoints.length === 0 ? usual : endpoints) {
    if (endpoint.kind === 'tcp' && noKey !== undefined) throw new Error(noKey);
    try {
      if (endpoint.kind === 'tcp')
        await startListening(servers.create('tcp'), { host: endpoint.host, port: endpoint.port });
      else await listenOnPath(endpoint.path, servers.create('unix'));
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const used = 'is in use: is it wormholed.socket or wormholed-tcp.socket that listens there?';
      throw new Error(`${endpointText(endpoint)} ${code === 'EADDRINUSE' ? used : message}`);
    }
    log.info(`listening on ${endpointText(endpoint)}`, { event: 'started' });
  }
}

async function listenOnPath(path: string, server: Server): Promise<void> {
  if (await isDead(path)) rmSync(path, { force: true });
  // bind(2) creates the file with the mode of the umask, and listen() binds at once.
  const umask = process.umask(0o177);
  const done = startListening(server, { path });
  process.umask(umask);
  await done;
}

/** Whether a unix socket is left over from a daemon that was killed. */
function isDead(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(false);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}

function startListening(
  server: Server,
  where: { fd: number } | { path: string } | { host: string; port: number },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ ...where, backlog: 128 }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function stopUnit(name: string, log: Log): Promise<void> {
  try {
    await withSystemd((systemd) => systemd.stop(name));
  } catch (error) {
    // The unix socket is still served.
    log.warn(`${name} could not be stopped: ${(error as Error).message}`, { event: 'failed' });
  }
}
