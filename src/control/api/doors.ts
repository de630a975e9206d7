import { closeSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { connectSystemd } from '../../systemd/systemd.js';
import { type Address, addressText, DEFAULT_PORT, LOCAL } from './address.js';
import type { Log } from './log.js';
import type { Servers } from './servers.js';
import { familyOf } from './socket-options.js';

/** systemd passes descriptors from this one on (sd_listen_fds(3)). */
const FIRST_FD = 3;

/** A listening socket that systemd has passed; `name` is its unit's, unless FileDescriptorName= says otherwise. */
export interface Passed {
  fd: number;
  name: string;
}

/** The listening sockets that systemd has passed to this process, sd_listen_fds(3); none when it was started by hand. */
export function passedSockets(env: NodeJS.ProcessEnv, pid: number): Passed[] {
  if (Number(env.LISTEN_PID) !== pid) return [];
  const names = (env.LISTEN_FDNAMES ?? '').split(':');
  return Array.from({ length: Number(env.LISTEN_FDS) || 0 }, (_, i) => ({
    fd: FIRST_FD + i,
    name: names[i] ?? '',
  }));
}

/**
 * Opens the servers on the sockets that systemd has passed.
 *
 * Those of TCP stay closed when `noKey` says why there is no key to tell callers from strangers by. Their units are
 * stopped too: a caller whom nobody accepts would have systemd start the daemon again and again. wormholed-key.path
 * starts them when the key changes.
 */
export async function openPassed(
  passed: Passed[],
  servers: Servers,
  noKey: string | undefined,
  log: Log,
): Promise<void> {
  for (const { fd, name } of passed) {
    const family = familyOf(fd);
    if (family === 'unix' || noKey === undefined) await listening(servers.make(family), { fd });
    else {
      closeSync(fd);
      log.warn(`${noKey}; TCP stays closed until then`);
      if (name.endsWith('.socket')) await stopUnit(name, log);
    }
  }
}

/**
 * Opens the servers on addresses, by default the usual ones; TCP is usual only with a key.
 *
 * @throws Error when an address cannot be had, or is of TCP while there is no key
 */
export async function openAddresses(
  addresses: Address[],
  servers: Servers,
  noKey: string | undefined,
  log: Log,
): Promise<void> {
  const everywhere: Address = { kind: 'tcp', host: '0.0.0.0', port: DEFAULT_PORT };
  const usual = noKey === undefined ? [LOCAL, everywhere] : [LOCAL];
  if (addresses.length === 0 && noKey !== undefined) log.warn(`${noKey}; not listening on TCP without it`);
  for (const address of addresses.length === 0 ? usual : addresses) {
    if (address.kind === 'tcp' && noKey !== undefined) throw new Error(noKey);
    try {
      if (address.kind === 'tcp')
        await listening(servers.make('tcp'), { host: address.host, port: address.port });
      else await listenOnPath(address.path, servers.make('unix'));
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const used = 'is in use: is it wormholed.socket or wormholed-tcp.socket that listens there?';
      throw new Error(`${addressText(address)} ${code === 'EADDRINUSE' ? used : message}`);
    }
    log.info(`listening on ${addressText(address)}`);
  }
}

async function listenOnPath(path: string, server: Server): Promise<void> {
  if (await isDead(path)) rmSync(path, { force: true });
  // bind(2) makes the file with the umask's mode, and listen() binds at once.
  const umask = process.umask(0o177);
  const done = listening(server, { path });
  process.umask(umask);
  await done;
}

/** Whether a unix socket is what a daemon that was killed has left. */
function isDead(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(false);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}

function listening(
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
    const systemd = await connectSystemd();
    await systemd.stop(name).finally(() => systemd.close());
  } catch (error) {
    // There is still the unix socket to be served.
    log.warn(`${name} could not be stopped: ${(error as Error).message}`);
  }
}
