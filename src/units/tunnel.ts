import * as v from 'valibot';
import type { AddressPair } from '../text/ip-address.js';
import { addDigest, SECTION } from './digest.js';
import { escapeUnitName } from './escape.js';
import type { Installation, Template, UnitFile } from './render.js';
import { parseSection, readSection } from './section.js';

/** ESP alone, or ESP in UDP, which passes routers that translate addresses. */
export type TunnelMode = 'esp' | 'udp';

/**
 * One end of a tunnel, as its unit file has it.
 *
 * `id` is the same at both ends. `peer` is the name of the other machine here: a name or an address, with a port or without.
 * `machine` is the id that the other machine proves to have, whatever name or address it is reached by. The encrypted packets travel between
 * the `outer` addresses, and what they carry between the `inner` ones. `asked` says whether somebody has asked for the tunnel
 * here: an end that nobody asked for, and that no link uses, is removed when the other machine has none any more.
 */
export interface Tunnel {
  id: string;
  peer: string;
  machine: string;
  outer: AddressPair;
  inner: AddressPair;
  mode: TunnelMode;
  asked: boolean;
  keyFile: string;
}

/** A unit file that says it is a tunnel's, and does not hold what a tunnel's must. */
export class UnreadableTunnel extends Error {}

const PREFIX = 'wormhole-tunnel@';

const outerAddress = v.pipe(v.string(), v.regex(/^[0-9a-f.:]+$/, 'is not an IP address'));
const innerAddress = v.pipe(v.string(), v.ipv4('is not an IPv4 address'));
const hexId = v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/, 'is not 16 hexadecimal digits'));

const tunnelSection = v.object({
  Tunnel: hexId,
  Peer: v.pipe(v.string(), v.minLength(1, 'is empty')),
  // An earlier version wrote 16 digits, which no machine can prove to be its id.
  PeerMachine: v.pipe(v.string(), v.regex(/^[0-9a-f]{16}(?:[0-9a-f]{16})?$/, 'is not 32 hexadecimal digits')),
  Address: outerAddress,
  PeerAddress: outerAddress,
  Local: innerAddress,
  Remote: innerAddress,
  Mode: v.picklist(['esp', 'udp'], 'is not esp or udp'),
  Asked: v.picklist(['yes', 'no'], 'is not yes or no'),
  KeyFile: v.pipe(v.string(), v.minLength(1, 'is empty')),
});

/** The service unit that brings a tunnel up. */
export function tunnelUnit(peer: string): string {
  return `${PREFIX}${escapeUnitName(peer)}.service`;
}

/** The timer that rekeys a tunnel, and the service that it starts. */
export function rekeyUnits(peer: string): { timer: string; service: string } {
  const name = `wormhole-tunnel-rekey@${escapeUnitName(peer)}`;
  return { timer: `${name}.timer`, service: `${name}.service` };
}

/** Whether a file of that name is a tunnel's. */
export function isTunnelUnit(name: string): boolean {
  return name.startsWith(PREFIX) && name.endsWith('.service');
}

/** A file that tells the unit of a tunnel, which removes it, that the tunnel is up; written just before the unit is started. */
export function upFile({ id }: Pick<Tunnel, 'id'>): string {
  return `/run/wormhole/tunnels/up-${id}`;
}

/** The unit file of a tunnel. */
export function renderTunnel(tunnel: Tunnel, where: Installation, template: Template): UnitFile {
  const text = template({
    ...where,
    ...tunnel,
    upFile: upFile(tunnel),
    rekeyTimer: rekeyUnits(tunnel.peer).timer,
    asked: tunnel.asked ? 'yes' : 'no',
    udp: tunnel.mode === 'udp',
  });
  return { name: tunnelUnit(tunnel.peer), text: addDigest(text) };
}

/** Reads a tunnel back from its unit file: the opposite of {@link renderTunnel}. @throws UnreadableTunnel */
export function readTunnel(text: string): Tunnel {
  try {
    const found = parseSection(tunnelSection, readSection(text, SECTION) ?? new Map());
    return {
      id: found.Tunnel,
      peer: found.Peer,
      machine: found.PeerMachine,
      outer: { local: found.Address, remote: found.PeerAddress },
      inner: { local: found.Local, remote: found.Remote },
      mode: found.Mode,
      asked: found.Asked === 'yes',
      keyFile: found.KeyFile,
    };
  } catch (error) {
    throw new UnreadableTunnel(`[${SECTION}] cannot be read: ${(error as Error).message}`);
  }
}
