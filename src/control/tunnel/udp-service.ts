import { execFile } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { encapsulate } from '../../ipsec/encapsulate.js';
import { provesHello, readHello, writeHello } from '../../ipsec/hello.js';
import { associationsOf, portsOf, readKernel } from '../../ipsec/kernel.js';
import { tunnelNumber } from '../../ipsec/names.js';
import type { Ports } from '../../ipsec/plan.js';
import { isSix } from '../../recipe/address.js';
import { connectSystemd } from '../../systemd/systemd.js';
import { rekeyUnits, type Tunnel } from '../../units/tunnel.js';
import { readKeys } from '../api/key.js';
import { withLock } from '../lock.js';
import { ownMachine } from './machine-id.js';
import { openAnswers } from './marks.js';
import { redirect } from './raise.js';
import { installedSettings } from './settings.js';
import { readTunnels } from './tunnels.js';
import { PORT_FILE } from './udp.js';

/** How often the other machines are told where this one is: routers forget a UDP connection after 30 s (RFC 4787, 4.3). */
const HELLO_MS = 20_000;

/** After so long without a tunnel in UDP the service ends, ms. */
const IDLE_MS = 120_000;

/**
 * A machine that has said nothing for so long, ms, has perhaps rebooted, and cannot ask this one if that is behind a router.
 * If it keeps silent it is asked less and less often, every ten minutes at last.
 */
const SILENCE_MS = 70_000;
const LONGEST_SILENCE_MS = 600_000;

/** When the last hello of the other machine was sent, and came, and when it is to be asked if none comes; ms since the epoch. */
interface Heard {
  sent: number;
  patience: number;
  askAt: number;
}

interface Sockets {
  four: Socket;
  six: Socket;
  port: number;
}

/**
 * Receives ESP in UDP for as long as there is a tunnel that needs it: the kernel does all of it, as long as somebody holds
 * the sockets. What is read here are the hellos of other machines (../../ipsec/hello.ts).
 *
 * @param say takes one line for the journal
 * @throws Error when no port of the range is free, or the kernel cannot do it
 */
export async function serveUdp(say: (line: string) => void): Promise<void> {
  const sockets = await bindAny(installedSettings().udpPorts);
  const heard = new Map<string, Heard>();
  for (const socket of [sockets.four, sockets.six]) {
    encapsulate(descriptor(socket));
    socket.on('message', (message, { address, port }) => {
      hear(message, address, { me: sockets.port, peer: port }, heard, say).catch(({ message }) =>
        say(message),
      );
    });
  }
  mkdirSync(dirname(PORT_FILE), { recursive: true, mode: 0o755 });
  writeFileSync(PORT_FILE, String(sockets.port));
  await promisify(execFile)('systemd-notify', ['--ready', `--status=ESP in UDP at port ${sockets.port}`]);
  process.on('SIGHUP', () => void greetAll(sockets, say));

  for (let used = Date.now(); Date.now() - used < IDLE_MS; await sleep(HELLO_MS)) {
    if (tunnelsInUdp().length > 0) used = Date.now();
    await greetAll(sockets, say);
    await askTheSilent(heard, say);
  }
  for (const socket of [sockets.four, sockets.six]) socket.close();
}

async function greetAll({ four, six }: Sockets, say: (line: string) => void): Promise<void> {
  try {
    const kernel = await readKernel();
    for (const { id, me, peerAddress, keyFile } of tunnelsInUdp()) {
      const own = associationsOf(kernel, tunnelNumber(id), { me, peer: peerAddress });
      const ports = portsOf(own.out[0]);
      if (!ports) continue;
      const hello = writeHello({ id, time: Date.now() }, ownMachine(), readKeys(keyFile)[0].secret);
      // A network that is down now may be up the next time.
      (isSix(peerAddress) ? six : four).send(hello, ports.peer, peerAddress, () => {});
    }
  } catch (error) {
    say((error as Error).message);
  }
}

/** Takes a hello for what it says, if it is of the machine at the other end, and newer than all before. */
async function hear(
  message: Buffer,
  from: string,
  ports: Ports,
  heard: Map<string, Heard>,
  say: (line: string) => void,
): Promise<void> {
  const hello = readHello(message);
  const tunnel = tunnelsInUdp().find(({ id }) => id === hello?.id);
  if (!hello || !tunnel || from !== tunnel.peerAddress) return;
  const keys = readKeys(tunnel.keyFile);
  if (!keys.some(({ secret }) => provesHello(message, tunnel.machine, secret))) return;
  if (hello.time <= (heard.get(tunnel.id)?.sent ?? 0)) return;
  heard.set(tunnel.id, { sent: hello.time, patience: SILENCE_MS, askAt: Date.now() + SILENCE_MS });
  await withLock('tunnels', async () => {
    const outer = { me: tunnel.me, peer: tunnel.peerAddress };
    const known = portsOf(associationsOf(await readKernel(), tunnelNumber(tunnel.id), outer).out[0]);
    if (!known || known.peer === ports.peer) return;
    await redirect(tunnel, ports);
    say(`${tunnel.peer} is behind a router, and found at port ${ports.peer} of ${from}`);
  });
}

/** Has the machines looked at that have fallen silent, as the timer of their tunnel does, which makes it anew if it is lost. */
async function askTheSilent(heard: Map<string, Heard>, say: (line: string) => void): Promise<void> {
  const now = Date.now();
  for (const { id, peer } of readTunnels().tunnels.filter(({ mode }) => mode === 'udp')) {
    const { sent, patience, askAt } = heard.get(id) ?? {
      sent: 0,
      patience: SILENCE_MS,
      askAt: now + SILENCE_MS,
    };
    const longer = Math.min(2 * patience, LONGEST_SILENCE_MS);
    heard.set(id, now < askAt ? { sent, patience, askAt } : { sent, patience: longer, askAt: now + longer });
    if (now < askAt) continue;
    say(
      `${peer} has not been heard for ${Math.round(patience / 1000)} s: it is asked whether it has its side still`,
    );
    try {
      await lookAt(peer);
    } catch (error) {
      say((error as Error).message);
    }
  }
}

async function lookAt(peer: string): Promise<void> {
  const systemd = await connectSystemd();
  try {
    await systemd.queue(rekeyUnits(peer)[1]);
  } finally {
    systemd.close();
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

/** node has no name for the descriptor of a socket. */
function descriptor(socket: Socket): number {
  const symbol = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  const state = (socket as unknown as Record<symbol, { handle: { fd: number } }>)[symbol as symbol];
  return (state as { handle: { fd: number } }).handle.fd;
}
