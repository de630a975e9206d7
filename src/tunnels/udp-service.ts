import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readKeys } from '../api/key.js';
import { encapsulate } from '../ipsec/encapsulate.js';
import { provesHello, readHello, writeHello } from '../ipsec/hello.js';
import { associationsOf, portsOf, readKernel } from '../ipsec/kernel.js';
import { tunnelNumber } from '../ipsec/names.js';
import type { Ports } from '../ipsec/plan.js';
import { withLock } from '../state/lock.js';
import { ownMachineId } from '../state/machine-id.js';
import { readTunnels } from '../state/tunnels.js';
import { makeDirectory, writeAtomically } from '../system/files.js';
import { notifySystemd } from '../systemd/notify.js';
import { withSystemd } from '../systemd/systemd.js';
import { rekeyUnits, type Tunnel } from '../units/tunnel.js';
import { changePorts } from './kernel.js';
import { openAnswers } from './negotiation.js';
import { installedSettings } from './settings.js';
import { PORT_FILE } from './udp.js';

/** How often the other machines receive a hello: routers forget a UDP connection after 30 s (RFC 4787, 4.3). */
const HELLO_MS = 20_000;

/** The service ends after this long without a tunnel in UDP, ms. */
const IDLE_MS = 120_000;

/**
 * A machine that has sent nothing for this long, ms, may have rebooted, and cannot ask this one if that is behind a router. While
 * it stays silent it is asked less and less often, in the end every ten minutes.
 */
const SILENCE_MS = 70_000;
const LONGEST_SILENCE_MS = 600_000;

/** When the last hello of the other machine was sent, and when it is asked if no further one arrives; ms since the epoch. */
interface PeerContact {
  sent: number;
  timeout: number;
  askAt: number;
}

interface Sockets {
  four: Socket;
  six: Socket;
  port: number;
}

/** Takes one line for the journal. */
type Log = (line: string) => void;

/**
 * Receives ESP in UDP while there is a tunnel that needs it: the kernel does all of it, as long as a process holds the
 * sockets. What arrives here are the hellos of other machines (../ipsec/hello.ts).
 *
 * @throws Error when no port of the range is free, or the kernel cannot do it
 */
export async function runUdpService(log: Log): Promise<void> {
  const sockets = await bindAny(installedSettings().udpPorts);
  const contacts = new Map<string, PeerContact>();
  for (const socket of [sockets.four, sockets.six]) {
    encapsulate(descriptorOf(socket));
    socket.on('message', (message, { address, port }) => {
      const ports = { local: sockets.port, remote: port };
      receiveHello({ message, address, ports }, contacts, log).catch((error: Error) => log(error.message));
    });
  }
  makeDirectory(dirname(PORT_FILE));
  writeAtomically(PORT_FILE, String(sockets.port));
  notifySystemd('READY=1', `STATUS=ESP in UDP at port ${sockets.port}`);
  process.on('SIGHUP', () => void sendHellos(sockets, log));

  for (let used = Date.now(); Date.now() - used < IDLE_MS; await sleep(HELLO_MS)) {
    if (tunnelsInUdp().length > 0) used = Date.now();
    await sendHellos(sockets, log);
    await askSilentPeers(contacts, log);
  }
  for (const socket of [sockets.four, sockets.six]) socket.close();
}

async function sendHellos({ four, six }: Sockets, log: Log): Promise<void> {
  try {
    const kernel = await readKernel();
    for (const { id, outer, keyFile } of tunnelsInUdp()) {
      const ports = portsOf(associationsOf(kernel, tunnelNumber(id), outer).out[0]);
      if (!ports) continue;
      const hello = writeHello({ id, time: Date.now() }, ownMachineId(), readKeys(keyFile)[0].secret);
      // A network that is down now may be up the next time.
      (isIPv6(outer.remote) ? six : four).send(hello, ports.remote, outer.remote, () => {});
    }
  } catch (error) {
    log((error as Error).message);
  }
}

interface Datagram {
  message: Buffer;
  address: string;
  ports: Ports;
}

/** Accepts a hello if it is from the machine at the other end of a tunnel, and newer than all before. */
async function receiveHello(
  { message, address, ports }: Datagram,
  contacts: Map<string, PeerContact>,
  log: Log,
): Promise<void> {
  const hello = readHello(message);
  const tunnel = tunnelsInUdp().find(({ id }) => id === hello?.id);
  if (!hello || !tunnel || address !== tunnel.outer.remote) return;
  const keys = readKeys(tunnel.keyFile);
  if (!keys.some(({ secret }) => provesHello(message, tunnel.machine, secret))) return;
  if (hello.time <= (contacts.get(tunnel.id)?.sent ?? 0)) return;
  contacts.set(tunnel.id, { sent: hello.time, timeout: SILENCE_MS, askAt: Date.now() + SILENCE_MS });
  await withLock('tunnels', async () => {
    const kernel = await readKernel();
    const known = portsOf(associationsOf(kernel, tunnelNumber(tunnel.id), tunnel.outer).out[0]);
    if (!known || known.remote === ports.remote) return;
    await changePorts(tunnel, ports);
    log(`${tunnel.peer} is behind a router, which sends from port ${ports.remote} of ${address}`);
  });
}

/** Has machines that have fallen silent checked, as the timer of their tunnel does, which repairs a lost tunnel. */
async function askSilentPeers(contacts: Map<string, PeerContact>, log: Log): Promise<void> {
  const now = Date.now();
  for (const { id, peer } of readTunnels().tunnels.filter(({ mode }) => mode === 'udp')) {
    const contact = contacts.get(id) ?? { sent: 0, timeout: SILENCE_MS, askAt: now + SILENCE_MS };
    contacts.set(id, contact);
    if (now < contact.askAt) continue;
    log(
      `${peer} has sent nothing for ${Math.round(contact.timeout / 1000)} s: it is asked whether it still has its side`,
    );
    const timeout = Math.min(2 * contact.timeout, LONGEST_SILENCE_MS);
    contacts.set(id, { ...contact, timeout, askAt: now + timeout });
    await withSystemd((systemd) => systemd.queue(rekeyUnits(peer).service)).catch((error: Error) =>
      log(error.message),
    );
  }
}

function tunnelsInUdp(): Tunnel[] {
  const all = [...readTunnels().tunnels, ...openAnswers().map(({ tunnel }) => tunnel)];
  return all.filter(({ mode }) => mode === 'udp');
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
