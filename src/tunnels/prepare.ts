import { randomBytes } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { ProvedConnection } from '../api/client.js';
import { Failure } from '../api/failure.js';
import type { PeerStatus } from '../api/tunnel-schema.js';
import { tunnelNumber } from '../ipsec/names.js';
import type { Association } from '../ipsec/plan.js';
import { readTunnels } from '../state/tunnels.js';
import { type AddressPair, isUnicast } from '../text/ip-address.js';
import type { Tunnel, TunnelMode } from '../units/tunnel.js';
import { isFreeHere, offeredAddresses } from './addresses.js';
import { addIncoming, generateAssociation, statusOf, sweep } from './kernel.js';
import { answerTo, beginInitiating } from './negotiation.js';
import { isConsistent } from './peer-status.js';
import { isNumberTaken, requireNoRival } from './rivals.js';
import type { TunnelSettings } from './settings.js';
import { openUdp, portsBetween, type UdpPort } from './udp.js';
import { writeTunnelUnit } from './unit.js';

/** The tunnel that is wanted: `peer` as people name it. With `fresh`, new keys even if the tunnel works. */
export interface TunnelRequest {
  peer: string;
  keyFile: string;
  mode: TunnelMode;
  asked: boolean;
  fresh: boolean;
}

/** What is known before a proposal: the state of the other machine, and the connection to it. */
export interface Situation {
  request: TunnelRequest;
  status: PeerStatus;
  session: ProvedConnection;
  settings: TunnelSettings;
}

/**
 * The next step of a negotiation: to wait for the other machine, nothing, or to propose a tunnel, `known` or new, which
 * receives with `incoming` already. With `keep`, packets travel between the same outer addresses as before. The inner addresses
 * of a new one are not agreed on yet, and empty; `theirs` are those that it has on the other machine, if it exists there.
 */
export type Prepared =
  | { step: 'wait' }
  | { step: 'done'; tunnel: Tunnel }
  | {
      step: 'propose';
      tunnel: Tunnel;
      known: boolean;
      keep: boolean;
      incoming: Association;
      port: UdpPort;
      theirs?: AddressPair;
    };

/**
 * Determines the next step, and records that this machine is the initiator. Call it only with the locks `asking-ID` and
 * `tunnels` held.
 *
 * @throws Failure with code taken, when there is a tunnel of the other mode, or one with another machine in its place; IpError
 */
export async function prepare({ request, status, session, settings }: Situation): Promise<Prepared> {
  await sweep();
  const { machine } = session;
  if (answerTo(machine)) return { step: 'wait' };
  const found = readTunnels().tunnels.find((tunnel) => tunnel.machine === machine);
  const other = found ?? status.tunnel;
  if (other && other.mode !== request.mode) throw otherMode(request.peer, other.mode);
  const keep = found !== undefined && (await worksBetween(found, status));
  const asked = request.asked || found?.asked === true;
  const tunnel: Tunnel = {
    id: status.tunnel?.id ?? newId(),
    peer: request.peer,
    machine,
    inner: { local: '', remote: '' },
    mode: request.mode,
    keyFile: request.keyFile,
    ...found,
    outer: keep ? found.outer : outerAddresses(session, status, settings),
    asked,
  };
  if (found && !request.fresh && (await isConsistent(found, status))) {
    const wanted = { ...found, asked };
    await writeTunnelUnit(wanted);
    return { step: 'done', tunnel: wanted };
  }
  if (!found) requireNoRival(tunnel);
  const incoming = generateAssociation();
  const port: UdpPort = tunnel.mode === 'udp' ? await openUdp() : {};
  // The port from which the other machine sends is unknown before it answers, and does not matter for receiving.
  await addIncoming(tunnel, incoming, portsBetween(port.udpPort, port.udpPort));
  beginInitiating(tunnel);
  const theirs = found ? undefined : status.tunnel?.inner;
  const proposal = { tunnel, known: found !== undefined, keep, incoming, port };
  return { step: 'propose', ...proposal, ...(theirs && { theirs }) };
}

/**
 * The pairs of inner addresses to offer: of a tunnel that exists on either machine, those that it has.
 *
 * @throws Error when none is free; IpError
 */
export async function candidatesFor(
  { tunnel, known, theirs }: Prepared & { step: 'propose' },
  settings: TunnelSettings,
): Promise<AddressPair[]> {
  if (known) return [tunnel.inner];
  if (!theirs) return offeredAddresses(tunnel.machine, settings.overlay);
  const inner = reverse(theirs);
  await requireFree({ ...tunnel, inner }, settings);
  return [inner];
}

/** A pair of addresses as the other machine sees it. */
export function reverse({ local, remote }: AddressPair): AddressPair {
  return { local: remote, remote: local };
}

/** Makes sure that the inner addresses of a new tunnel are not in use here. @throws Error, IpError */
export async function requireFree(
  { peer, machine, inner }: Tunnel,
  { overlay }: TunnelSettings,
): Promise<void> {
  if (await isFreeHere(inner, machine, overlay)) return;
  throw new Error(
    `the tunnel that ${peer} has with this machine uses ${inner.local} and ${inner.remote}, which are taken here, or not in ${overlay} (-C of wormholed)`,
  );
}

/** The addresses between which packets travel: those of the connection, unless either machine knows better. */
export function outerAddresses(
  ends: AddressPair,
  { external }: { external?: string },
  { internal }: TunnelSettings,
): AddressPair {
  const [local, remote] = [internal ?? ends.local, external ?? ends.remote];
  if (isIPv6(local) !== isIPv6(remote)) {
    throw new Failure(
      'failed',
      `no tunnel between ${local} and ${remote}: one is of IPv4 and one of IPv6; see -I and -E of wormholed`,
    );
  }
  if (!isUnicast(local) || !isUnicast(remote) || local === remote)
    throw new Failure('failed', `no tunnel between ${local} and ${remote}: see -I and -E of wormholed`);
  if (/^fe[89ab]/.test(local) || /^fe[89ab]/.test(remote))
    throw new Failure(
      'failed',
      `no tunnel between link-local addresses such as ${local}: use another address of the machine`,
    );
  return { local, remote };
}

/** The error for a machine with which there is a tunnel of the other mode. */
export function otherMode(peer: string, mode: TunnelMode): Failure {
  const kind = mode === 'udp' ? 'ESP in UDP' : 'plain ESP';
  return new Failure(
    'taken',
    `there is a tunnel with ${peer} already, of ${kind}: wormhole tunnel-delete ${peer}`,
  );
}

/** Whether a tunnel is up on both sides between the same addresses: then these stay, whatever address the request uses. */
async function worksBetween(tunnel: Tunnel, { tunnel: theirs }: PeerStatus): Promise<boolean> {
  const { outer } = tunnel;
  const isSame = theirs?.outer.local === outer.remote && theirs.outer.remote === outer.local;
  return isSame && theirs.out.length > 0 && (await statusOf(tunnel)).up;
}

function newId(): string {
  for (;;) {
    const id = randomBytes(8).toString('hex');
    if (!isNumberTaken(tunnelNumber(id))) return id;
  }
}
