import { randomBytes, randomInt } from 'node:crypto';
import { applySteps, IpError, runRemovals, undoSteps } from '../ipsec/apply.js';
import {
  associationsOf,
  hasAddress,
  hasInterface,
  isGuarded,
  type KernelState,
  linesToEnd,
  linesToSweep,
  pathMtu,
  portsOf,
  readKernel,
} from '../ipsec/kernel.js';
import { tunnelMtu } from '../ipsec/mtu.js';
import { tunnelNumber } from '../ipsec/names.js';
import {
  type Association,
  associationStep,
  changeInterfaceSteps,
  changePortsStep,
  expireStep,
  guardSteps,
  interfaceSteps,
  inUdp,
  type Ports,
  removeStep,
  type TunnelEnd,
} from '../ipsec/plan.js';
import { readLinks } from '../state/links.js';
import { type RetainedGuard, releaseGuard, retainedGuards } from '../state/retained-guards.js';
import { readTunnels } from '../state/tunnels.js';
import { removeDanglingLinks, removeTemporaryFiles } from '../systemd/unit-files.js';
import type { AddressPair } from '../text/ip-address.js';
import { isTunnelUnit, type Tunnel } from '../units/tunnel.js';
import { forgetAllUp, initiatedTunnels, openAnswers } from './negotiation.js';
import { forgetOtherProblems } from './problems.js';

/* What the kernel has of the tunnels. Every function except `statusOf` has to be called with the lock `tunnels` held. */

/** SPIs up to here are reserved (RFC 4303, 2.1). */
const RESERVED_SPIS = 255;

/**
 * Whether a tunnel can send and receive, from an address that this machine still has, and the SPIs with which it does, each
 * direction's newest first.
 */
export interface TunnelStatus {
  up: boolean;
  in: number[];
  out: number[];
}

/** A random SPI and key, for one direction of one tunnel only. */
export function generateAssociation(): Association {
  return { spi: randomInt(RESERVED_SPIS + 1, 2 ** 32), key: randomBytes(36) };
}

/** Adds an incoming security association, beside those that receive already. @throws IpError */
export async function addIncoming(tunnel: Tunnel, association: Association, ports?: Ports): Promise<void> {
  await applySteps([associationStep({ direction: 'in', end: endOf(tunnel), association, ports })]);
}

/** Removes an incoming security association. @throws IpError */
export async function removeIncoming(tunnel: Tunnel, association: Association): Promise<void> {
  await undoSteps([associationStep({ direction: 'in', end: endOf(tunnel), association })]);
}

/**
 * Makes the tunnel send with an outgoing security association from now on, and adds what it lacks of its interface, its
 * address and its policies.
 *
 * @throws IpError, when nothing has changed
 */
export async function bringUp(tunnel: Tunnel, outgoing: Association, ports?: Ports): Promise<void> {
  const [kernel, wanted] = await Promise.all([readKernel(), describeEnd(tunnel)]);
  const { number, outer } = wanted;
  if (!isGuarded(kernel, tunnel.inner)) await addGuard(tunnel.inner);
  const isComplete = hasInterface(kernel, wanted);
  // Sockets are bound to the interface, so it stays if it can: sessions outlive a change of the outer addresses.
  const stays = hasAddress(kernel, wanted);
  if (!isComplete)
    await runRemovals(linesToEnd({ ...kernel, associations: [], ...(stays && { interfaces: [] }) }, number));
  const interfaceChange = stays ? changeInterfaceSteps(wanted) : interfaceSteps(wanted);
  await applySteps([
    ...(isComplete ? [] : interfaceChange),
    associationStep({
      direction: 'out',
      end: wanted,
      association: outgoing,
      ports: withLearnedPort(kernel, wanted, ports),
    }),
  ]);
  const { out, other } = associationsOf(kernel, number, outer);
  await runRemovals([...out, ...other].map((old) => removeStep(old).line));
}

/**
 * Makes a tunnel in UDP send to another port of the other machine: the one that a router in between has given it.
 *
 * @throws IpError
 */
export async function changePorts(tunnel: Tunnel, ports: Ports): Promise<void> {
  const { number, outer } = endOf(tunnel);
  const own = associationsOf(await readKernel(), number, outer);
  const incoming = inUdp(ports.remote, ports.local, outer.local);
  const outgoing = inUdp(ports.local, ports.remote, outer.local);
  await applySteps([
    ...own.in.slice(0, 1).map((id) => changePortsStep({ number, id, encap: incoming })),
    ...own.out.map((id) => changePortsStep({ number, id, encap: outgoing })),
  ]);
}

/** Ends every incoming security association except one in a few seconds, or at once if it is from the future. @throws IpError */
export async function expireOtherIncoming(tunnel: Tunnel, spi: Association['spi']): Promise<void> {
  const { number, outer } = endOf(tunnel);
  const old = associationsOf(await readKernel(), number, outer).in.filter((one) => one.spi !== spi);
  const now = Date.now();
  await runRemovals(
    old.map((id) => {
      const age = Math.round((now - id.added) / 1000);
      // The clock has been set back. The kernel counts from the beginning, which is to come.
      if (age < 0) return removeStep(id).line;
      return expireStep({ number, id, encap: id.encapsulation }, age).line;
    }),
  );
}

/** Blocks every way to a tunnel's addresses except the tunnel. @throws IpError */
export async function addGuard(inner: AddressPair): Promise<void> {
  for (const step of guardSteps(inner)) await applySteps([step]);
}

/**
 * Removes all that the kernel has of a tunnel, the policies that block clear text last, unless they are retained; a tunnel whose
 * addresses are not agreed on yet has none.
 *
 * @throws IpError when something stays
 */
export async function tearDown({ id, inner }: Tunnel): Promise<void> {
  await runRemovals(linesToEnd(await readKernel(), tunnelNumber(id)));
  const isRetained = retainedGuards().some(
    (guard) => guard.inner.local === inner.local && guard.inner.remote === inner.remote,
  );
  if (inner.local !== '' && !isRetained) await undoSteps(guardSteps(inner));
}

/**
 * Removes what killed commands have left, and what an initiator has not confirmed for a minute; nothing while a tunnel's unit
 * cannot be read.
 *
 * @throws IpError
 */
export async function sweep(): Promise<void> {
  removeTemporaryFiles(isTunnelUnit);
  forgetAllUp();
  removeDanglingLinks('wormhole-tunnel@');
  const { tunnels, unreadable } = readTunnels();
  // Without its unit, what belongs to a tunnel looks like what a killed command has left.
  if (unreadable.length > 0) return;
  forgetOtherProblems(tunnels);
  const known = [...tunnels, ...openAnswers().map(({ tunnel }) => tunnel)];
  const numbers = new Set([...known.map(({ id }) => id), ...initiatedTunnels()].map(tunnelNumber));
  const guarded = [...known, ...guardsInUse()].map(({ inner }) => inner);
  await runRemovals(linesToSweep(await readKernel(), numbers, guarded));
}

/** The guards of deleted tunnels through which links led that still exist; the others are released. */
function guardsInUse(): RetainedGuard[] {
  const guards = retainedGuards();
  if (guards.length === 0) return [];
  const { links, unreadable } = readLinks();
  const existing = new Set([...links, ...unreadable].map(({ id }) => id));
  const isUsed = ({ links: users }: RetainedGuard) => users.some((id) => existing.has(id));
  for (const guard of guards) if (!isUsed(guard)) releaseGuard(guard.id);
  return guards.filter(isUsed);
}

/** What the kernel has of a tunnel. @throws IpError */
export async function statusOf(tunnel: Tunnel): Promise<TunnelStatus> {
  const kernel = await readKernel();
  const { number, outer } = endOf(tunnel);
  const { in: incoming, out } = associationsOf(kernel, number, outer);
  const hasKeys = kernel.addresses.includes(outer.local) && incoming.length > 0 && out.length > 0;
  const up = hasKeys && (await hasRoute(tunnel)) && hasInterface(kernel, await describeEnd(tunnel));
  return { up, in: incoming.map(({ spi }) => spi), out: out.map(({ spi }) => spi) };
}

/** Whether a packet to the other machine has a way at this moment. */
async function hasRoute({ outer }: Tunnel): Promise<boolean> {
  try {
    await pathMtu(outer.remote);
    return true;
  } catch (error) {
    if (error instanceof IpError) return false;
    throw error;
  }
}

/** The port at which the other machine was found takes precedence over the one that it believes to have. */
function withLearnedPort(
  kernel: KernelState,
  { number, outer }: TunnelEnd,
  ports: Ports | undefined,
): Ports | undefined {
  const known = portsOf(associationsOf(kernel, number, outer).out[0]);
  return ports && known ? { ...ports, remote: known.remote } : ports;
}

async function describeEnd(tunnel: Tunnel): Promise<TunnelEnd> {
  const { outer, inner, mode } = tunnel;
  const mtu = tunnelMtu(await pathMtu(outer.remote), outer.remote, mode === 'udp');
  return { ...endOf(tunnel), inner, mtu };
}

function endOf({ id, outer }: Tunnel): Pick<TunnelEnd, 'number' | 'outer'> {
  return { number: tunnelNumber(id), outer };
}
