import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { encapsulate } from '../ipsec/encapsulate.js';
import { writeHello } from '../ipsec/hello.js';
import { associationsOf, portsOf, readKernel } from '../ipsec/kernel.js';
import { tunnelNumber } from '../ipsec/names.js';
import type { Ports } from '../ipsec/plan.js';
import { ownIdentity } from '../state/identity.js';
import { withLock } from '../state/lock.js';
import { makeDirectory, writeAtomically } from '../system/files.js';
import type { LogLine } from '../systemd/journal-entry.js';
import { notifySystemd } from '../systemd/notify.js';
import { withSystemd } from '../systemd/systemd.js';
import { rekeyUnits, type Tunnel } from '../units/tunnel.js';
import { type Contacts, createContacts } from './hellos.js';
import { changePorts } from './kernel.js';
import { createKnownTunnels, type KnownTunnels } from './known-tunnels.js';
import { installedSettings } from './settings.js';
import { PORT_FILE } from './udp.js';

/** How often the other machines receive a hello: routers forget a UDP connection after 30 s (RFC 4787, 4.3). */
const HELLO_MS = 20_000;

/** The service ends after this long without a tunnel in UDP, ms. */
const IDLE_MS = 120_000;

/** A kind of line that anyone can cause is written at most this often, ms. */
const QUIET_MS = 10_000;

interface Sockets {
  four: Socket;
  six: Socket;
  port: number;
}

/**
 * Receives ESP in UDP while there is a tunnel that needs it: the kernel does all of it, as long as a process holds the
 * sockets. What arrives here are the hellos of other machines (../ipsec/hello.ts).
 *
 * @throws Error when no port of the range is free, or the kernel cannot do it
 */
export async function runUdpService(log: LogLine): Promise<void> {
  const sockets = await bindAny(installedSettings().udpPorts);
  const known = createKnownTunnels();
  const warn = onceInAWhile(log);
  const contacts = createContacts(known, warn);
  for (const socket of [sockets.four, sockets.six]) {
    encapsulate(descriptorOf(socket));
    socket.on('message', (message, { address, port }) => {
      try {
        const tunnel = contacts.receive({ message, address });
        if (tunnel) void followPeer(tunnel, { local: sockets.port, remote: port }, log).catch(warnOf);
      } catch (error) {
        warnOf(error);
      }
    });
  }
  makeDirectory(dirname(PORT_FILE));
  writeAtomically(PORT_FILE, String(sockets.port));
  notifySystemd('READY=1', `STATUS=ESP in UDP at port ${sockets.port}`);
  process.on('SIGHUP', () => void sendHellos(sockets, known, log));

  for (let used = performance.now(); performance.now() - used < IDLE_MS; await sleep(HELLO_MS)) {
    if (known.all().length > 0) used = performance.now();
    await sendHellos(sockets, known, log);
    await askSilentPeers(contacts, log);
  }
  for (const socket of [sockets.four, sockets.six]) socket.close();

  function warnOf(error: unknown): void {
    warn((error as Error).message, { event: 'failed' });
  }
}

async function sendHellos({ four, six }: Sockets, known: KnownTunnels, log: LogLine): Promise<void> {
  try {
    const kernel = await readKernel();
    for (const tunnel of known.all()) {
      const { id, outer } = tunnel;
      const ports = portsOf(associationsOf(kernel, tunnelNumber(id), outer).out[0]);
      const [key] = known.keysOf(tunnel);
      if (!ports || !key) continue;
      const hello = writeHello({ id, time: Date.now() }, ownIdentity().id, key.secret);
      // A network that is down now may be up the next time.
      (isIPv6(outer.remote) ? six : four).send(hello, ports.remote, outer.remote, () => {});
    }
  } catch (error) {
    log((error as Error).message, { event: 'failed' });
  }
}

/** Sends to the port from which the machine at the other end of a tunnel has just sent. */
async function followPeer(tunnel: Tunnel, ports: Ports, log: LogLine): Promise<void> {
  await withLock('tunnels', async () => {
    const { id, peer, outer } = tunnel;
    const known = portsOf(associationsOf(await readKernel(), tunnelNumber(id), outer).out[0]);
    if (!known || known.remote === ports.remote) return;
    await changePorts(tunnel, ports);
    log(`${peer} is behind a router, which sends from port ${ports.remote} of ${outer.remote}`, {
      event: 'moved',
      peer,
    });
  });
}

/** Has machines that have fallen silent checked, as the timer of their tunnel does, which repairs a lost tunnel. */
async function askSilentPeers(contacts: Contacts, log: LogLine): Promise<void> {
  for (const { tunnel, silence } of contacts.silent()) {
    log(
      `${tunnel.peer} has sent nothing for ${Math.round(silence / 1000)} s; checking whether it still has the tunnel`,
      { event: 'unreachable', peer: tunnel.peer },
    );
    await withSystemd((systemd) => systemd.queue(rekeyUnits(tunnel.peer).service)).catch((error: Error) =>
      log(error.message, { event: 'failed', peer: tunnel.peer }),
    );
  }
}

/** Writes one line, and then none until a while has passed. */
function onceInAWhile(log: LogLine): LogLine {
  let next = 0;
  return (line, about) => {
    if (performance.now() < next) return;
    next = performance.now() + QUIET_MS;
    log(line, about);
  };
}

async function bindAny({ first, last }: { first: number; last: number }): Promise<Sockets> {
  for (let port = first; port <= last; port++) {
    const [four, six] = [createSocket('udp4'), createSocket({ type: 'udp6', ipv6Only: true })];
    try {
      for (const socket of [four, six]) {
        socket.bind(port);
        await once(socket, 'listening');
      }
      return { four, six, port };
    } catch (error) {
      four.close();
      six.close();
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
  }
  throw new Error(`every UDP port from ${first} to ${last} is in use: give wormholed others with -P`);
}

/** Node has no name for the descriptor of a datagram socket. */
function descriptorOf(socket: Socket): number {
  const symbol = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  const state = (socket as unknown as Record<symbol, { handle: { fd: number } }>)[symbol as symbol];
  return (state as { handle: { fd: number } }).handle.fd;
}
