import { randomBytes, randomInt } from 'node:crypto';
import { apply, carryOutAll, takeBack } from '../../ipsec/apply.js';
import {
  associationsOf,
  hasFrame,
  isGuarded,
  type KernelState,
  linesToEnd,
  linesToSweep,
  pathMtu,
  portsOf,
  readKernel,
} from '../../ipsec/kernel.js';
import { tunnelMtu } from '../../ipsec/mtu.js';
import { tunnelNumber } from '../../ipsec/names.js';
import {
  type Association,
  association,
  expire,
  type Frame,
  frame,
  guard,
  inUdp,
  type Ports,
  remap,
  remove,
} from '../../ipsec/plan.js';
import { removeDanglingLinks, removeTemporaryFiles } from '../../systemd/unit-files.js';
import type { Tunnel } from '../../units/tunnel.js';
import { forgetUps, openAnswers } from './marks.js';
import { readTunnels } from './tunnels.js';

/* What the kernel has of the tunnels. Each function but `conditionOf` is to be called with the lock `tunnels` held. */

/** SPIs up to here are reserved (RFC 4303, 2.1). */
const RESERVED_SPIS = 255;

/**
 * Whether a tunnel can send and receive, from an address that this machine still has, and the SPIs with which it does, each
 * direction's newest first.
 */
export interface Condition {
  up: boolean;
  in: number[];
  out: number[];
}

/** A random SPI and key, for one direction of one tunnel and for nothing else. */
export function freshAssociation(): Association {
  return { spi: randomInt(RESERVED_SPIS + 1, 2 ** 32), key: randomBytes(36) };
}

/** Begins to receive what is encrypted with `incoming`, beside what is received already. @throws IpError */
export async function receive(tunnel: Tunnel, incoming: Association, ports?: Ports): Promise<void> {
  await apply([association('in', place(tunnel), incoming, ports)]);
}

/** Receives what is encrypted with `incoming` no more. @throws IpError */
export async function refuse(tunnel: Tunnel, incoming: Association): Promise<void> {
  await takeBack([association('in', place(tunnel), incoming)]);
}

/**
 * Has the tunnel send with `outgoing` from now on, and makes what it lacks of its interface, its address and its policies.
 *
 * @throws IpError, when nothing has changed
 */
export async function raise(tunnel: Tunnel, outgoing: Association, ports?: Ports): Promise<void> {
  const [kernel, wanted] = await Promise.all([readKernel(), frameOf(tunnel)]);
  if (!isGuarded(kernel, tunnel)) await block(tunnel);
  const complete = hasFrame(kernel, wanted);
  if (!complete) await carryOutAll(linesToEnd({ ...kernel, associations: [] }, wanted.number));
  await apply([
    ...(complete ? [] : frame(wanted)),
    association('out', wanted, outgoing, learned(kernel, wanted, ports)),
  ]);
  const { out, other } = associationsOf(kernel, wanted.number, wanted.outer);
  await carryOutAll([...out, ...other].map((old) => remove(old).line));
}

/**
 * Has a tunnel in UDP send to another port of the other machine: the one that a router between has given it.
 *
 * @throws IpError
 */
export async function redirect(tunnel: Tunnel, ports: Ports): Promise<void> {
  const { number, outer } = place(tunnel);
  const own = associationsOf(await readKernel(), number, outer);
  const [incoming, outgoing] = [inUdp(ports.peer, ports.me, outer.me), inUdp(ports.me, ports.peer, outer.me)];
  await apply([
    ...own.in.slice(0, 1).map((id) => remap(number, id, incoming)),
    ...own.out.map((id) => remap(number, id, outgoing)),
  ]);
}

/** Has all that is received beside `incoming` end in a few seconds. @throws IpError */
export async function retire(tunnel: Tunnel, incoming: Association['spi']): Promise<void> {
  const { number, outer } = place(tunnel);
  const old = associationsOf(await readKernel(), number, outer).in.filter(({ spi }) => spi !== incoming);
  const now = Date.now();
  await carryOutAll(
    old.map((one) => {
      const age = Math.max(0, Math.round((now - one.added) / 1000));
      return expire(number, one, age, one.encapsulation).line;
    }),
  );
}

/** Lets nothing reach the tunnel's addresses but through it. @throws IpError */
export async function block({ local, remote }: Pick<Tunnel, 'local' | 'remote'>): Promise<void> {
  for (const step of guard({ local, remote })) await apply([step]);
}

/**
 * Ends all that the kernel has of a tunnel, what blocks clear text last; of one whose addresses are not agreed on yet there
 * is nothing that blocks.
 *
 * @throws IpError when something stays
 */
export async function end(tunnel: Tunnel): Promise<void> {
  await carryOutAll(linesToEnd(await readKernel(), tunnelNumber(tunnel.id)));
  if (tunnel.local !== '') await takeBack(guard(tunnel));
}

/**
 * Ends what killed commands have left, and what an asker has not said yes to for a minute; nothing while a tunnel's unit
 * cannot be read.
 *
 * @throws IpError
 */
export async function sweep(): Promise<void> {
  removeTemporaryFiles('tunnels');
  forgetUps();
  removeDanglingLinks('wormhole-tunnel@');
  const { tunnels, unreadable } = readTunnels();
  // What belongs to a tunnel whose unit somebody has spoilt cannot be told from what nobody needs.
  if (unreadable.length > 0) return;
  const known = [...tunnels, ...openAnswers().map(({ tunnel }) => tunnel)];
  const overlays = known.map((tunnel) => ({ number: tunnelNumber(tunnel.id), overlay: tunnel }));
  await carryOutAll(linesToSweep(await readKernel(), overlays));
}

/** Looks at what the kernel has of a tunnel. @throws IpError */
export async function conditionOf(tunnel: Tunnel): Promise<Condition> {
  const [kernel, wanted] = await Promise.all([readKernel(), frameOf(tunnel)]);
  const { in: incoming, out } = associationsOf(kernel, wanted.number, wanted.outer);
  const there = kernel.addresses.includes(tunnel.me);
  const up = there && hasFrame(kernel, wanted) && incoming.length > 0 && out.length > 0;
  return { up, in: incoming.map(({ spi }) => spi), out: out.map(({ spi }) => spi) };
}

/** A port that the other machine was found at is better than the one that it believes to have. */
function learned(kernel: KernelState, { number, outer }: Frame, ports: Ports | undefined): Ports | undefined {
  const known = portsOf(associationsOf(kernel, number, outer).out[0]);
  return ports && known ? { ...ports, peer: known.peer } : ports;
}

async function frameOf(tunnel: Tunnel): Promise<Frame> {
  const mtu = tunnelMtu(await pathMtu(tunnel.peerAddress), tunnel.peerAddress, tunnel.mode === 'udp');
  return { ...place(tunnel), overlay: { local: tunnel.local, remote: tunnel.remote }, mtu };
}

function place({ id, me, peerAddress }: Tunnel): Pick<Frame, 'number' | 'outer'> {
  return { number: tunnelNumber(id), outer: { me, peer: peerAddress } };
}
