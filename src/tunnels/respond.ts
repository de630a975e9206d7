import { Failure } from '../api/failure.js';
import { requireAllowed } from '../api/require-allowed.js';
import type { Acceptance, PeerStatus, Proposal, Settlement } from '../api/tunnel-schema.js';
import { ownIdentity } from '../state/identity.js';
import { withLock } from '../state/lock.js';
import { readTunnels } from '../state/tunnels.js';
import type { AddressPair } from '../text/ip-address.js';
import type { Tunnel } from '../units/tunnel.js';
import { isFreeHere } from './addresses.js';
import {
  addIncoming,
  bringUp,
  expireOtherIncoming,
  generateAssociation,
  removeIncoming,
  statusOf,
  sweep,
  tearDown,
} from './kernel.js';
import { answerTo, forgetAnswer, isInitiatingTo, recordAnswer } from './negotiation.js';
import { otherMode, outerAddresses, reverse } from './prepare.js';
import { requireNoRival } from './rivals.js';
import type { TunnelSettings } from './settings.js';
import { openUdp, portsBetween, type UdpPort } from './udp.js';
import { removeTunnel, startTunnelUnit, stopStrayUnits, writeTunnelUnit } from './unit.js';

/** The id of another machine that asks, which it has proved, and the addresses of the connection over which it does. */
export interface Initiator extends AddressPair {
  machine: string;
}

/** What this machine has of a tunnel with the one that asks. @throws IpError */
export async function ownStatus(machine: string, { external }: TunnelSettings): Promise<PeerStatus> {
  const tunnel = readTunnels().tunnels.find((known) => known.machine === machine);
  return {
    ...(external !== undefined && { external }),
    ...(tunnel && { tunnel: await describe(tunnel) }),
  };
}

/**
 * Brings this side of a tunnel up, as another machine proposes it. A new one gets its unit file when the other machine has
 * confirmed that its side is up as well ({@link settleTunnel}); if it does not for a minute, the next command removes what
 * exists of the tunnel.
 *
 * @throws Failure: busy when this machine is the initiator itself, and goes first; not-found for a tunnel that nobody asked
 *   for there, and that is unknown here; taken when there is another one; failed when no address is free. IpError
 */
export async function acceptTunnel(
  id: string,
  proposal: Proposal,
  initiator: Initiator,
  settings: TunnelSettings,
): Promise<Acceptance> {
  return withLock('tunnels', async () => {
    const { machine } = initiator;
    requireAllowed(machine);
    if (isInitiatingTo(machine) && ownIdentity().id < machine)
      throw new Failure('busy', 'this machine is asking for the same tunnel itself, and goes first');
    await sweep();
    const known = readTunnels().tunnels.find((tunnel) => tunnel.machine === machine);
    requireFitting(id, known, proposal, initiator);
    const outer = outerAddresses(initiator, proposal, settings);
    const existing = known ?? waitingFor(id, machine, proposal);
    const tunnel: Tunnel = {
      id,
      machine,
      peer: initiator.remote,
      mode: proposal.mode,
      asked: false,
      keyFile: settings.keyFile,
      ...existing,
      inner: existing?.inner ?? (await chooseInner(machine, proposal, settings)),
      outer: known && proposal.keep ? known.outer : outer,
    };
    const ours = generateAssociation();
    const port: UdpPort = tunnel.mode === 'udp' ? await openUdp() : {};
    const ports = portsBetween(port.udpPort, proposal.udpPort);
    try {
      recordAnswer(tunnel, ours.spi);
      await addIncoming(tunnel, ours, ports);
      await bringUp(tunnel, proposal.incoming, ports);
    } catch (error) {
      forgetAnswer(machine);
      await (known ? removeIncoming(tunnel, ours) : tearDown(tunnel));
      throw error;
    }
    return { inner: reverse(tunnel.inner), incoming: ours, ...port };
  });
}

/** Keeps this side of a tunnel, since the initiator's is up. @throws Failure, not-found after a minute; JobError, IpError */
export async function settleTunnel(id: string, { spi }: Settlement, machine: string): Promise<void> {
  const tunnel = await withLock('tunnels', async () => {
    requireAllowed(machine);
    const answer = answerTo(machine);
    if (answer?.tunnel.id !== id)
      throw new Failure('not-found', `no tunnel ${id} waits for a confirmation (any more)`);
    // By their numbers, and not by their ages: the clock may have been set back since the older ones were added.
    const { in: incoming, out } = await statusOf(answer.tunnel);
    if (!out.includes(spi) || !incoming.includes(answer.spi))
      throw new Failure('not-found', `tunnel ${id} has other keys by now`);
    await writeTunnelUnit(answer.tunnel);
    await expireOtherIncoming(answer.tunnel, answer.spi);
    forgetAnswer(machine);
    return answer.tunnel;
  });
  // The tunnel is up; the initiator does not have to wait until the unit finds that as well.
  await startTunnelUnit(tunnel, { wait: false });
}

/** Removes what exists of a tunnel that the initiator has not confirmed yet. @throws IpError */
export function withdrawAnswer(machine: string): Promise<void> {
  return withLock('tunnels', async () => {
    const answer = answerTo(machine);
    forgetAnswer(machine);
    if (answer && !readTunnels().tunnels.some(({ id }) => id === answer.tunnel.id))
      await tearDown(answer.tunnel);
  });
}

/** Removes this side of a tunnel with the machine that asks for it. @throws Failure, not-found; JobError, IpError */
export async function dropTunnel(id: string, machine: string): Promise<void> {
  const tunnel = readTunnels().tunnels.find((known) => known.id === id);
  if (tunnel && tunnel.machine !== machine)
    throw new Failure(
      'failed',
      `tunnel ${id} was created with another machine than yours, which is ${machine}`,
    );
  if (tunnel) return removeTunnel(tunnel, `machine ${tunnel.peer} has deleted the tunnel`);
  // A removal may have been killed midway.
  await withLock('tunnels', sweep);
  await stopStrayUnits();
  throw new Failure('not-found', `no tunnel ${id}: see wormhole tunnel-list`);
}

async function describe(tunnel: Tunnel): Promise<NonNullable<PeerStatus['tunnel']>> {
  const { id, mode, outer, inner } = tunnel;
  const own = await statusOf(tunnel);
  const spis = own.up ? { in: own.in, out: own.out } : { in: [], out: [] };
  return { id, mode, outer, inner, ...spis };
}

function requireFitting(
  id: string,
  known: Tunnel | undefined,
  { asked, mode }: Proposal,
  { machine, remote }: Initiator,
): void {
  if (!known && !asked) throw new Failure('not-found', `no tunnel ${id} here, and nobody asks for it there`);
  if (known && known.mode !== mode) throw otherMode(known.peer, known.mode);
  if (known && known.id !== id)
    throw new Failure(
      'taken',
      `there is another tunnel with ${remote}: wormhole tunnel-delete ${known.peer}`,
    );
  if (!known) requireNoRival({ id, machine, peer: remote });
}

/** The same tunnel as in an earlier answer to an initiator that was killed before it confirmed: its addresses stay. */
function waitingFor(id: string, machine: string, { mode, candidates }: Proposal): Tunnel | undefined {
  const tunnel = answerTo(machine)?.tunnel;
  if (tunnel?.id !== id || tunnel.mode !== mode) return undefined;
  const { inner } = tunnel;
  const isOffered = candidates.some(({ local, remote }) => local === inner.remote && remote === inner.local);
  return isOffered ? tunnel : undefined;
}

async function chooseInner(
  machine: string,
  { candidates }: Proposal,
  { overlay }: TunnelSettings,
): Promise<AddressPair> {
  for (const candidate of candidates) {
    const pair = reverse(candidate);
    if (await isFreeHere(pair, machine, overlay)) return pair;
  }
  throw new Failure('failed', 'none of the addresses proposed for the tunnel is free here: try again');
}
