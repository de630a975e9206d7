import { occupied } from '../../ipsec/kernel.js';
import { tunnelNumber } from '../../ipsec/names.js';
import { isFree } from '../../ipsec/overlay.js';
import type { Overlay } from '../../ipsec/plan.js';
import type { Tunnel } from '../../units/tunnel.js';
import type { Caller } from '../api/caller.js';
import { Failure } from '../api/failure.js';
import type { Acceptance, Greeting, Proposal, Settlement } from '../api/tunnel-schema.js';
import { withLock } from '../lock.js';
import { ownMachine } from './machine-id.js';
import { answeredTo, forgetAnswer, isAsking, nowAnswered } from './marks.js';
import { otherMode, outerOf } from './prepare.js';
import { conditionOf, end, freshAssociation, raise, receive, refuse, retire, sweep } from './raise.js';
import type { TunnelSettings } from './settings.js';
import { readTunnels } from './tunnels.js';
import { openUdp, portsBetween, type UdpPort } from './udp.js';
import { removeTunnel, startTunnel, stopStrays, writeTunnel } from './unit.js';

/** A machine that asks this one. */
export type CallingMachine = Caller & { kind: 'machine' };

/** What this machine is, and what it has of a tunnel with the one that asks. @throws IpError */
export async function answerGreeting(machine: string, { external }: TunnelSettings): Promise<Greeting> {
  const tunnel = readTunnels().tunnels.find((known) => known.machine === machine);
  return {
    machine: ownMachine(),
    ...(external === undefined ? {} : { external }),
    ...(tunnel && { tunnel: await told(tunnel) }),
  };
}

/**
 * Brings this side of a tunnel up, as another machine proposes it. A new one has no unit file before the other machine
 * has said that its side is up as well ({@link settleTunnel}); if it does not for a minute, the next command takes what
 * there is of it away.
 *
 * @throws Failure: busy when this machine asks the other one itself, and goes first; not-found for a tunnel that nobody
 *   asked for there, and that is unknown here; taken when there is another one; failed when no address is free. IpError
 */
export async function acceptTunnel(
  id: string,
  proposal: Proposal,
  caller: CallingMachine,
  settings: TunnelSettings,
): Promise<Acceptance> {
  return withLock('tunnels', async () => {
    const { machine, incoming: theirs } = proposal;
    if (isAsking(machine) && ownMachine() < machine)
      throw new Failure('busy', 'this machine is asking for the same tunnel itself, and goes first');
    await sweep();
    const known = readTunnels().tunnels.find((tunnel) => tunnel.machine === machine);
    requireFitting(id, known, proposal, caller);
    const outer = outerOf({ local: caller.local, remote: caller.address }, proposal, settings);
    const tunnel: Tunnel = {
      id,
      machine,
      peer: caller.address,
      mode: proposal.mode,
      asked: false,
      keyFile: settings.keyFile,
      ...(known ?? waitingFor(id, proposal) ?? (await chosen(proposal.candidates, settings))),
      ...(known && proposal.keep ? outerOfTunnel(known) : outer),
    };
    const ours = freshAssociation();
    const port: UdpPort = tunnel.mode === 'udp' ? await openUdp() : {};
    const ports = portsBetween(port.udpPort, proposal.udpPort);
    try {
      nowAnswered(tunnel);
      await receive(tunnel, ours, ports);
      await raise(tunnel, theirs, ports);
    } catch (error) {
      forgetAnswer(machine);
      await (known ? refuse(tunnel, ours) : end(tunnel));
      throw error;
    }
    return { overlay: { local: tunnel.remote, remote: tunnel.local }, incoming: ours, ...port };
  });
}

/** The other machine's side is up: this one's is to stay, too. @throws Failure, not-found after a minute; JobError, IpError */
export async function settleTunnel(id: string, { machine, spi }: Settlement): Promise<void> {
  const tunnel = await withLock('tunnels', async () => {
    const answered = answeredTo(machine)?.tunnel;
    if (answered?.id !== id)
      throw new Failure('not-found', `no tunnel ${id} is waiting for that, not any more`);
    const { in: incoming, out } = await conditionOf(answered);
    if (out[0] !== spi || incoming[0] === undefined)
      throw new Failure('not-found', `tunnel ${id} has other keys by now`);
    writeTunnel(answered);
    await retire(answered, incoming[0]);
    forgetAnswer(machine);
    return answered;
  });
  // The tunnel is up; the asker need not wait for the unit to find that as well.
  await startTunnel(tunnel, false);
}

/** Takes this side of a tunnel away. @throws Failure, not-found; JobError, IpError */
export async function dropTunnel(id: string): Promise<void> {
  const tunnel = readTunnels().tunnels.find((known) => known.id === id);
  if (tunnel) return removeTunnel(tunnel);
  // A removal may have been killed half-way.
  await stopStrays();
  throw new Failure('not-found', `no tunnel ${id}: see wormhole tunnel-list`);
}

async function told(tunnel: Tunnel): Promise<NonNullable<Greeting['tunnel']>> {
  const { id, mode } = tunnel;
  const own = await conditionOf(tunnel);
  const spis = own.up ? { in: own.in, out: own.out } : { in: [], out: [] };
  return { id, mode, ...outerOfTunnel(tunnel), ...spis };
}

function outerOfTunnel({ me, peerAddress }: Tunnel): Pick<Tunnel, 'me' | 'peerAddress'> {
  return { me, peerAddress };
}

function requireFitting(
  id: string,
  known: Tunnel | undefined,
  { asked, mode }: Proposal,
  { address }: CallingMachine,
): void {
  if (!known && !asked) throw new Failure('not-found', `no tunnel ${id} here, and nobody asks for it there`);
  if (known && known.mode !== mode) throw otherMode(known.peer, known.mode);
  if (known && known.id !== id)
    throw new Failure(
      'taken',
      `there is another tunnel with ${address}: wormhole tunnel-delete ${known.peer}`,
    );
  const rival = readTunnels().tunnels.find(
    (tunnel) => tunnel.id !== id && tunnelNumber(tunnel.id) === tunnelNumber(id),
  );
  if (rival)
    throw new Failure('taken', `the number of tunnel ${id} is that of the one to ${rival.peer}: try again`);
}

/** The same tunnel as it has been answered for already, to one who was killed before he could say yes: it has its addresses. */
function waitingFor(id: string, { machine, mode, candidates }: Proposal): Tunnel | undefined {
  const tunnel = answeredTo(machine)?.tunnel;
  if (tunnel?.id !== id || tunnel.mode !== mode) return undefined;
  const offered = candidates.some(({ local, remote }) => local === tunnel.remote && remote === tunnel.local);
  return offered ? tunnel : undefined;
}

async function chosen(candidates: Overlay[], { overlay }: TunnelSettings): Promise<Overlay> {
  const taken = await occupied();
  const free = candidates.find((candidate) => isFree(candidate, overlay, taken));
  if (!free)
    throw new Failure('failed', 'none of the addresses proposed for the tunnel is free here: try again');
  return { local: free.remote, remote: free.local };
}
