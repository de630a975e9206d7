import { randomBytes } from 'node:crypto';
import { occupied } from '../../ipsec/kernel.js';
import { tunnelNumber } from '../../ipsec/names.js';
import { chooseOverlays, isFree } from '../../ipsec/overlay.js';
import type { Association, Overlay } from '../../ipsec/plan.js';
import { isSix } from '../../recipe/address.js';
import type { Tunnel, TunnelMode } from '../../units/tunnel.js';
import type { Ends } from '../api/client.js';
import { Failure } from '../api/failure.js';
import type { Greeting } from '../api/tunnel-schema.js';
import { isWell } from './greet.js';
import { answeredTo, nowAsking } from './marks.js';
import { conditionOf, freshAssociation, receive, sweep } from './raise.js';
import type { TunnelSettings } from './settings.js';
import { readTunnels } from './tunnels.js';
import { openUdp, portsBetween, type UdpPort } from './udp.js';
import { writeTunnel } from './unit.js';

/** What is wanted of another machine: `peer` as people name it. With `fresh`, new keys even if the tunnel is well. */
export interface Wanted {
  peer: string;
  keyFile: string;
  mode: TunnelMode;
  asked: boolean;
  fresh: boolean;
}

/**
 * What goes before a question: there may be nothing to ask, or another machine to wait for; or else there is a tunnel to
 * propose, `known` or new, which receives with `incoming` already. With `keep`, packets travel between the same addresses as before. The
 * addresses in a new one are not agreed on yet.
 */
export type Prepared =
  | { step: 'wait' }
  | { step: 'done'; tunnel: Tunnel }
  | { step: 'ask'; tunnel: Tunnel; known: boolean; keep: boolean; incoming: Association; port: UdpPort };

/**
 * Looks what there is to ask of a machine, and notes that it is being asked. Only with the locks `asking` and `tunnels` held.
 *
 * @throws Failure with code taken, when there is a tunnel of the other mode; IpError
 */
export async function prepare(
  wanted: Wanted,
  greeting: Greeting,
  ends: Ends,
  settings: TunnelSettings,
): Promise<Prepared> {
  await sweep();
  const { machine } = greeting;
  if (answeredTo(machine)) return { step: 'wait' };
  const found = readTunnels().tunnels.find((tunnel) => tunnel.machine === machine);
  const other = found ?? greeting.tunnel;
  if (other && other.mode !== wanted.mode) throw otherMode(wanted.peer, other.mode);
  const keep = found !== undefined && (await worksBetween(found, greeting));
  const tunnel: Tunnel = {
    id: greeting.tunnel?.id ?? newId(),
    peer: wanted.peer,
    machine,
    local: '',
    remote: '',
    mode: wanted.mode,
    keyFile: wanted.keyFile,
    ...found,
    ...(keep ? { me: found.me, peerAddress: found.peerAddress } : outerOf(ends, greeting, settings)),
    asked: wanted.asked || found?.asked === true,
  };
  if (found && !wanted.fresh && (await isWell(found, greeting))) {
    const asked = { ...found, asked: tunnel.asked };
    writeTunnel(asked);
    return { step: 'done', tunnel: asked };
  }
  const incoming = freshAssociation();
  const port: UdpPort = tunnel.mode === 'udp' ? await openUdp() : {};
  // Where the other machine sends from is not known before it answers, and does not matter to what is received.
  await receive(tunnel, incoming, portsBetween(port.udpPort, port.udpPort));
  nowAsking(machine);
  return { step: 'ask', tunnel, known: found !== undefined, keep, incoming, port };
}

/** The pairs of addresses to offer: of a known tunnel, its own and no other. @throws Error when none is free; IpError */
export async function candidatesFor(
  { local, remote }: Tunnel,
  known: boolean,
  { overlay }: TunnelSettings,
): Promise<Overlay[]> {
  if (known) return [{ local, remote }];
  const free = chooseOverlays(overlay, await occupied());
  if (free.length > 0) return free;
  throw new Error(`no address for a tunnel is free in ${overlay}: give wormholed another network with -C`);
}

/** Makes sure that nobody here has the addresses of a new tunnel. @throws Error, IpError */
export async function requireFree(tunnel: Tunnel, { overlay }: TunnelSettings): Promise<void> {
  if (isFree(tunnel, overlay, await occupied())) return;
  const { peer, local, remote } = tunnel;
  throw new Error(
    `the tunnel that ${peer} has with this machine uses ${local} and ${remote}, which are taken here`,
  );
}

/** The addresses between which packets are to travel: those of the connection, unless either machine knows better. */
export function outerOf(
  { local, remote }: Ends,
  { external }: Pick<Greeting, 'external'>,
  { internal }: TunnelSettings,
): { me: string; peerAddress: string } {
  const [me, peerAddress] = [internal ?? local, external ?? remote];
  if (isSix(me) !== isSix(peerAddress)) {
    const which = `${me} and ${peerAddress}`;
    throw new Failure(
      'failed',
      `no tunnel between ${which}: one is of IPv4 and one of IPv6; see -I and -E of wormholed`,
    );
  }
  if (/^fe[89ab]|%/.test(me + peerAddress))
    throw new Failure(
      'failed',
      `no tunnel between link-local addresses such as ${me}: call the machine by another`,
    );
  return { me, peerAddress };
}

/** The error for a machine with which there is a tunnel of the other kind. */
export function otherMode(peer: string, mode: TunnelMode): Failure {
  const kind = mode === 'udp' ? 'ESP in UDP' : 'plain ESP';
  return new Failure(
    'taken',
    `there is a tunnel with ${peer} already, of ${kind}: wormhole tunnel-delete ${peer}`,
  );
}

/** Whether a tunnel is up on both sides, between the same addresses: then it stays there, by whatever address one asks. */
async function worksBetween(tunnel: Tunnel, { tunnel: theirs }: Greeting): Promise<boolean> {
  const same = theirs?.me === tunnel.peerAddress && theirs.peerAddress === tunnel.me;
  return same && theirs.out.length > 0 && (await conditionOf(tunnel)).up;
}

function newId(): string {
  const taken = new Set(readTunnels().tunnels.map(({ id }) => tunnelNumber(id)));
  for (;;) {
    const id = randomBytes(8).toString('hex');
    if (!taken.has(tunnelNumber(id))) return id;
  }
}
