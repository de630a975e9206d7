import { isIPv6 } from 'node:net';
import type { AddressPair } from '../text/ip-address.js';
import { BLOCK_PRIORITY, interfaceOf, PASS_PRIORITY } from './names.js';

/** One command of ip(8), without the word `ip`, and the one that undoes it; none where there is nothing to undo. */
export interface Step {
  line: string;
  undo?: string;
}

/**
 * What the kernel needs to know of one end of a tunnel. `number` is its `if_id` and `reqid` (names.ts), `mtu` that of its
 * interface, bytes. The encrypted packets travel between the `outer` addresses, both of IPv4 or both of IPv6, and what they
 * carry between the `inner` ones, of IPv4.
 */
export interface TunnelEnd {
  number: number;
  outer: AddressPair;
  inner: AddressPair;
  mtu: number;
}

/** The UDP ports of ESP in UDP, as this end sees them. */
export interface Ports {
  local: number;
  remote: number;
}

/** A security association of one direction. `key` is 32 bytes of AES-256 and 4 of salt (RFC 4106, 8.1). */
export interface Association {
  spi: number;
  key: Buffer;
}

/** What identifies a security association in the kernel. */
export interface AssociationId {
  src: string;
  dst: string;
  spi: number;
}

/**
 * Security associations that are not rekeyed end after this many seconds: three times their intended lifetime, since those of
 * a peer that is away for a while are better than none.
 */
export const HARD_LIMIT = 3 * 3600;

/** How long a replaced security association still receives, seconds: for packets that are on their way. */
export const GRACE = 10;

/**
 * The policies that leave no way around a tunnel: they block clear text that arrives for its local address, that would be
 * forwarded to its remote address, and that would leave for that through another interface. They are there before the tunnel
 * and after it. An xfrm interface looks its packets up by its `if_id`, and so never meets them.
 */
export function guardSteps({ local, remote }: AddressPair): Step[] {
  return [`dst ${local}/32 dir in`, `dst ${remote}/32 dir fwd`, `dst ${remote}/32 dir out`].map(
    (selector) => ({
      // An update adds a policy that is missing.
      line: `xfrm policy update src 0.0.0.0/0 ${selector} priority ${BLOCK_PRIORITY} action block`,
      undo: `xfrm policy delete src 0.0.0.0/0 ${selector}`,
    }),
  );
}

/** The interface of a tunnel, with its address, and its {@link policySteps}. Without security associations it drops every packet. */
export function interfaceSteps(end: TunnelEnd): Step[] {
  const { number, inner, mtu } = end;
  const name = interfaceOf(number);
  return [
    { line: `link add ${name} mtu ${mtu} type xfrm if_id ${number}`, undo: `link delete ${name}` },
    ...policySteps(end),
    { line: `address add ${inner.local} peer ${inner.remote} dev ${name}` },
    { line: `link set ${name} up` },
  ];
}

/** Changes the interface of a tunnel which has its address already, but not all the rest: sockets are bound to the interface. */
export function changeInterfaceSteps(end: TunnelEnd): Step[] {
  return [...policySteps(end), { line: `link set ${interfaceOf(end.number)} mtu ${end.mtu} up` }];
}

/**
 * The policies by which a tunnel's interface encrypts. Without them, it drops every packet.
 *
 * The policy with `dev` admits local packets to the interface, in spite of the {@link guardSteps}: the kernel looks for a
 * policy first when it has found the route, without an `if_id`, and again, with it, in the interface (xfrmi_xmit).
 */
function policySteps({ number, outer, inner }: TunnelEnd): Step[] {
  const name = interfaceOf(number);
  const [local, remote] = [`${inner.local}/32`, `${inner.remote}/32`];
  const template = (src: string, dst: string) =>
    `tmpl src ${src} dst ${dst} proto esp reqid ${number} mode tunnel`;
  const policy = (selector: string, rest: string): Step => ({
    line: `xfrm policy add ${selector} ${rest}`,
    undo: `xfrm policy delete ${selector}`,
  });
  return [
    policy(`src 0.0.0.0/0 dst ${remote} dev ${name} dir out`, `priority ${PASS_PRIORITY} action allow`),
    policy(`src ${local} dst ${remote} dir out if_id ${number}`, template(outer.local, outer.remote)),
    policy(`src ${remote} dst ${local} dir in if_id ${number}`, template(outer.remote, outer.local)),
  ];
}

/** A security association of one end, for one direction. */
export interface AssociationRequest {
  direction: 'in' | 'out';
  end: Pick<TunnelEnd, 'number' | 'outer'>;
  association: Association;
  /** Only in UDP. */
  ports?: Ports | undefined;
}

/** Adds a security association: AES-256-GCM with a tag of 128 bits, and ESN (RFC 4303, 2.2.1). */
export function associationStep({ direction, end, association, ports }: AssociationRequest): Step {
  const { number, outer } = end;
  const { spi, key } = association;
  const isIn = direction === 'in';
  const [src, dst] = isIn ? [outer.remote, outer.local] : [outer.local, outer.remote];
  const encap =
    ports && (isIn ? inUdp(ports.remote, ports.local, src) : inUdp(ports.local, ports.remote, src));
  return {
    line: `xfrm state add ${text({ src, dst, spi })} ${properties(number)} limit time-hard ${HARD_LIMIT}${encapsulation(encap)} aead rfc4106(gcm(aes)) 0x${key.toString('hex')} 128`,
    undo: removeStep({ src, dst, spi }).line,
  };
}

/** How ip(8) takes that ESP travels in UDP between two ports (RFC 3948). */
export function inUdp(from: number, to: number, address: string): string {
  return `espinudp ${from} ${to} ${isIPv6(address) ? '::' : '0.0.0.0'}`;
}

/** Removes a security association. */
export function removeStep(id: AssociationId): Step {
  return { line: `xfrm state delete ${text(id)}` };
}

/** An existing security association that is to change. */
export interface AssociationUpdate {
  /** That of its tunnel. */
  number: number;
  id: AssociationId;
  /** Its UDP encapsulation, as {@link inUdp} writes it; only in UDP. */
  encap?: string | undefined;
}

/** Makes the kernel end a security association in {@link GRACE} seconds. @param age its age, seconds */
export function expireStep(update: AssociationUpdate, age: number): Step {
  return updateStep(update, age + GRACE);
}

/** Moves a security association to the UDP ports in `encap`. */
export function changePortsStep(update: AssociationUpdate): Step {
  return updateStep(update, HARD_LIMIT);
}

/**
 * Changes when a security association ends, in seconds from its beginning, and its ports. The kernel carries it out even if
 * this process is killed. An update never changes the key (xfrm_state_update() in net/xfrm/xfrm_state.c), but has to name one
 * of the same form.
 */
function updateStep({ number, id, encap }: AssociationUpdate, limit: number): Step {
  return {
    line: `xfrm state update ${text(id)} ${properties(number)} limit time-hard ${limit}${encapsulation(encap)} aead rfc4106(gcm(aes)) 0x${'00'.repeat(36)} 128`,
  };
}

/** af-unspec: IPv4 is inside, whatever is outside. */
function properties(number: number): string {
  return `reqid ${number} mode tunnel if_id ${number} replay-window 128 flag af-unspec flag esn`;
}

function text({ src, dst, spi }: AssociationId): string {
  return `src ${src} dst ${dst} proto esp spi 0x${spi.toString(16)}`;
}

function encapsulation(encap: string | undefined): string {
  return encap === undefined ? '' : ` encap ${encap}`;
}
