/*
 * The part of the control API, version 1, that two machines agree on a tunnel by. Only machines may ask for it, but for
 * the list. Bodies hold keys: nothing of them goes to the journal.
 *
 *     GET    /v1/tunnels                 {"tunnels": ListedTunnel[], ...} (../tunnel/list.ts)
 *     GET    /v1/tunnels/with/MACHINE    Greeting: what the asked machine has with that one
 *     PUT    /v1/tunnels/ID              Proposal -> Acceptance, whether the tunnel is there already or not
 *     POST   /v1/tunnels/ID/settle       Settlement -> 204: the asker's side is up
 *     DELETE /v1/tunnels/ID              204
 */
import { isIPv4 } from 'node:net';
import { isTunnelId } from '../../ipsec/names.js';
import type { Association, Overlay } from '../../ipsec/plan.js';
import { canonicalAddress } from '../../recipe/address.js';
import type { TunnelMode } from '../../units/tunnel.js';
import { fields, wrong } from './fields.js';

/** The most pairs of addresses that may be offered. */
const MAX_CANDIDATES = 64;

/**
 * Who a machine is, by what address it can be reached if not by the connection's, and the tunnel that it has with the
 * asker: the addresses between which its packets travel as that machine has them, and the SPIs of both directions; none
 * when it is not up there.
 */
export interface Greeting {
  machine: string;
  external?: string;
  tunnel?: { id: string; mode: TunnelMode; me: string; peerAddress: string; in: number[]; out: number[] };
}

/**
 * What the asker would have. `asked` is whether somebody wants the tunnel on that side; if not, one that is unknown here
 * is not made. With `keep`, the packets go on travelling between the addresses they do, whatever connection it is asked over.
 * `candidates` are pairs of addresses, the asker's first. `incoming` is what the asker receives with from now on,
 * `udpPort` where, if in UDP.
 */
export interface Proposal {
  machine: string;
  external?: string;
  mode: TunnelMode;
  asked: boolean;
  keep: boolean;
  candidates: Overlay[];
  incoming: Association;
  udpPort?: number;
}

/** What becomes of it: the addresses as the asker has them, and what the other side receives with, at which UDP port. */
export interface Acceptance {
  overlay: Overlay;
  incoming: Association;
  udpPort?: number;
}

/** Who says that its side is up, and what it receives with. */
export interface Settlement {
  machine: string;
  spi: number;
}

/** A proposal or an acceptance as JSON has it, with keys in hexadecimal. */
export function toWire<T extends { incoming: Association }>(value: T): unknown {
  return { ...value, incoming: { spi: value.incoming.spi, key: value.incoming.key.toString('hex') } };
}

/** Checks the body of `PUT /v1/tunnels/ID`. @throws Failure with code usage, which names the field */
export function checkProposal(body: unknown): Proposal {
  const known = ['machine', 'external', 'mode', 'asked', 'keep', 'candidates', 'incoming', 'udpPort'];
  const all = fields(body, 'the body', known);
  const { machine, external, mode, asked, keep, candidates, incoming } = all;
  if (mode !== 'esp' && mode !== 'udp') throw wrong('"mode" must be esp or udp');
  if (typeof asked !== 'boolean' || typeof keep !== 'boolean')
    throw wrong('"asked" and "keep" must be true or false');
  if (!Array.isArray(candidates) || candidates.length === 0 || candidates.length > MAX_CANDIDATES)
    throw wrong(`"candidates" must be an array of 1 to ${MAX_CANDIDATES} pairs of addresses`);
  return {
    machine: checkMachine(machine),
    ...checkExternal(external),
    mode,
    asked,
    keep,
    candidates: candidates.map(checkOverlay),
    incoming: checkAssociation(incoming),
    ...checkPort(all.udpPort, mode),
  };
}

/** Checks the body of `POST /v1/tunnels/ID/settle`. @throws Failure with code usage */
export function checkSettlement(body: unknown): Settlement {
  const { machine, spi } = fields(body, 'the body', ['machine', 'spi']);
  return { machine: checkMachine(machine), spi: checkSpi(spi) };
}

/** Checks what a machine has answered to a proposal. @throws Failure */
export function checkAcceptance(body: unknown, mode: TunnelMode): Acceptance {
  const { overlay, incoming, udpPort } = fields(body, 'the answer', ['overlay', 'incoming', 'udpPort']);
  return {
    overlay: checkOverlay(overlay),
    incoming: checkAssociation(incoming),
    ...checkPort(udpPort, mode),
  };
}

/** Checks what a machine has answered about itself. @throws Failure */
export function checkGreeting(body: unknown): Greeting {
  const { machine, external, tunnel } = fields(body, 'the answer', ['machine', 'external', 'tunnel']);
  const greeting: Greeting = { machine: checkMachine(machine), ...checkExternal(external) };
  if (tunnel === undefined) return greeting;
  const known = ['id', 'mode', 'me', 'peerAddress', 'in', 'out'];
  const { id, mode, me, peerAddress, in: incoming, out } = fields(tunnel, '"tunnel"', known);
  if (mode !== 'esp' && mode !== 'udp') throw wrong('"tunnel.mode" must be esp or udp');
  const spis = (list: unknown) => (Array.isArray(list) ? list.map(checkSpi) : []);
  const addresses = { me: String(me), peerAddress: String(peerAddress) };
  const all = { id: checkTunnelId(id), mode, ...addresses, in: spis(incoming), out: spis(out) } as const;
  return { ...greeting, tunnel: all };
}

/** Checks the ID of `/v1/tunnels/ID`. @throws Failure with code usage */
export function checkTunnelId(id: unknown): string {
  if (typeof id === 'string' && isTunnelId(id)) return id;
  throw wrong('the id of a tunnel is 16 hexadecimal digits');
}

/** Checks what tells a machine from others. @throws Failure with code usage */
export function checkMachine(machine: unknown): string {
  if (typeof machine === 'string' && /^[0-9a-f]{16}$/.test(machine)) return machine;
  throw wrong('"machine" must be 16 hexadecimal digits');
}

function checkExternal(external: unknown): { external?: string } {
  if (external === undefined) return {};
  const address = typeof external === 'string' ? canonicalAddress(external) : undefined;
  if (address === undefined) throw wrong('"external" must be an IP address');
  return { external: address };
}

function checkOverlay(value: unknown): Overlay {
  const { local, remote } = fields(value, 'a pair of addresses', ['local', 'remote']);
  if (typeof local !== 'string' || typeof remote !== 'string' || !isIPv4(local) || !isIPv4(remote))
    throw wrong('a pair of addresses must have IPv4 addresses as "local" and "remote"');
  return { local, remote };
}

function checkAssociation(value: unknown): Association {
  const { spi, key } = fields(value, '"incoming"', ['spi', 'key']);
  // It goes to ip(8) on a line of its own, so it must be nothing but digits.
  if (typeof key !== 'string' || !/^[0-9a-f]{72}$/.test(key))
    throw wrong('"incoming.key" must be 36 bytes in hexadecimal');
  return { spi: checkSpi(spi), key: Buffer.from(key, 'hex') };
}

function checkPort(port: unknown, mode: TunnelMode): { udpPort?: number } {
  if (mode === 'esp' && port === undefined) return {};
  if (mode === 'udp' && Number.isInteger(port) && (port as number) > 0 && (port as number) < 65_536)
    return { udpPort: port as number };
  throw wrong('"udpPort" must be a port in UDP, and must not be there otherwise');
}

function checkSpi(spi: unknown): number {
  if (Number.isInteger(spi) && (spi as number) > 255 && (spi as number) < 2 ** 32) return spi as number;
  throw wrong('an SPI must be a whole number from 256 to 4294967295');
}
