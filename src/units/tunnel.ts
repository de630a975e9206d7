import { escapeUnitName, quoteArgument } from './escape.js';
import { section } from './read.js';
import type { Installation, Template, UnitFile } from './render.js';

/** ESP alone, or ESP in UDP, which passes routers that translate addresses. */
export type TunnelMode = 'esp' | 'udp';

/**
 * One end of a tunnel, as its unit file has it.
 *
 * `id` is the same at both ends, `peer` how this machine calls the other: a name or an address, with a port or without.
 * `machine` tells the other machine from all others, by whatever name or address it is reached. `me` and `peerAddress` are
 * the addresses between which the packets travel, `local` and `remote` those inside. `asked` says whether somebody has
 * asked for the tunnel here: an end that nobody asked for goes when the other one has none any more.
 */
export interface Tunnel {
  id: string;
  peer: string;
  machine: string;
  me: string;
  peerAddress: string;
  local: string;
  remote: string;
  mode: TunnelMode;
  asked: boolean;
  keyFile: string;
}

/** A unit file that says it is a tunnel's, and does not hold what a tunnel's must. */
export class UnreadableTunnel extends Error {}

const PREFIX = 'wormhole-tunnel@';

/** The service unit that brings a tunnel up. */
export function tunnelUnit(peer: string): string {
  return `${PREFIX}${escapeUnitName(peer)}.service`;
}

/** The timer that renews a tunnel's keys, and the service that it starts. */
export function rekeyUnits(peer: string): [timer: string, service: string] {
  const name = `wormhole-tunnel-rekey@${escapeUnitName(peer)}`;
  return [`${name}.timer`, `${name}.service`];
}

/** Whether a file of that name is a tunnel's. */
export function isTunnelUnit(name: string): boolean {
  return name.startsWith(PREFIX) && name.endsWith('.service');
}

/** Says to the unit of a tunnel, which takes it away, that the tunnel is up; it is written just before the unit is started. */
export function upFile({ id }: Pick<Tunnel, 'id'>): string {
  return `/run/wormhole/tunnels/up-${id}`;
}

/** The unit file of a tunnel. */
export function renderTunnel(tunnel: Tunnel, where: Installation, template: Template): UnitFile {
  const text = template({
    ...tunnel,
    upFile: upFile(tunnel),
    command: [where.node, where.cli].map(quoteArgument).join(' '),
    rekeyTimer: rekeyUnits(tunnel.peer)[0],
    asked: tunnel.asked ? 'yes' : 'no',
    udp: tunnel.mode === 'udp',
  });
  return { name: tunnelUnit(tunnel.peer), text };
}

/** Reads a tunnel back from its unit file: the opposite of {@link renderTunnel}. @throws UnreadableTunnel */
export function readTunnel(text: string): Tunnel {
  const settings = section(text, 'X-Wormhole') ?? new Map<string, string>();
  const setting = (name: string, form = /./) => {
    const value = settings.get(name) ?? '';
    if (!form.test(value)) throw new UnreadableTunnel(`[X-Wormhole] has no ${name}= that makes sense`);
    return value;
  };
  return {
    id: setting('Tunnel', /^[0-9a-f]{16}$/),
    peer: setting('Peer'),
    machine: setting('PeerMachine', /^[0-9a-f]{16}$/),
    me: setting('Address', /^[0-9a-f.:]+$/),
    peerAddress: setting('PeerAddress', /^[0-9a-f.:]+$/),
    local: setting('Local', /^[0-9.]+$/),
    remote: setting('Remote', /^[0-9.]+$/),
    mode: setting('Mode', /^(esp|udp)$/) as TunnelMode,
    asked: setting('Asked', /^(yes|no)$/) === 'yes',
    keyFile: setting('KeyFile'),
  };
}
