import { isSix } from '../recipe/address.js';
import { BLOCK_PRIORITY, interfaceOf, PASS_PRIORITY } from './names.js';

/** One command of ip(8), without the word `ip`, and the one that takes it back; none where nothing is to be. */
export interface Step {
  line: string;
  undo?: string;
}

/** The two addresses between which a tunnel's packets travel, both of IPv4 or both of IPv6. */
export interface Outer {
  me: string;
  peer: string;
}

/** The IPv4 addresses inside a tunnel: this machine's and the other's. */
export interface Overlay {
  local: string;
  remote: string;
}

/** One end of a tunnel. `number` is its `if_id` and `reqid` (names.ts), `mtu` that of its interface, bytes. */
export interface Frame {
  number: number;
  outer: Outer;
  overlay: Overlay;
  mtu: number;
}

/** The UDP ports of ESP in UDP, as this end sees them. */
export interface Ports {
  me: number;
  peer: number;
}

/** A security association of one direction. `key` is 32 bytes of AES-256 and 4 of salt (RFC 4106, 8.1). */
export interface Association {
  spi: number;
  key: Buffer;
}

/** What tells a security association from others in the kernel. */
export interface AssociationId {
  src: string;
  dst: string;
  spi: number;
}

/**
 * Security associations that nobody renews end after so long, seconds: three times as long as they are meant to last,
 * since those of a peer who is away for a while are better than none.
 */
export const HARD_LIMIT = 3 * 3600;

/** How long what has been replaced is still received, seconds: for packets that are under way. */
export const GRACE = 10;

/**
 * The policies that leave no way around a tunnel: what comes in the clear for its local address, what is to be forwarded
 * to its remote address, and what would leave for that through another interface. They are there before the tunnel and
 * after it. An xfrm interface looks its packets up by its `if_id`, and so never meets them.
 */
export function guard({ local, remote }: Overlay): Step[] {
  return [`dst ${local}/32 dir in`, `dst ${remote}/32 dir fwd`, `dst ${remote}/32 dir out`].map(
    (selector) => ({
      // An update makes what is not there.
      line: `xfrm policy update src 0.0.0.0/0 ${selector} priority ${BLOCK_PRIORITY} action block`,
      undo: `xfrm policy delete src 0.0.0.0/0 ${selector}`,
    }),
  );
}

/**
 * The interface of a tunnel, with its address, and the policies by which it encrypts. Without security associations it
 * drops every packet.
 *
 * The policy with `dev` lets local packets as far as the interface, in spite of the {@link guard}: the kernel looks for a
 * policy first when it has found the route, without an `if_id`, and again, with it, in the interface (xfrmi_xmit).
 */
export function frame({ number, outer, overlay, mtu }: Frame): Step[] {
  const name = interfaceOf(number);
  const [local, remote] = [`${overlay.local}/32`, `${overlay.remote}/32`];
  const template = (src: string, dst: string) =>
    `tmpl src ${src} dst ${dst} proto esp reqid ${number} mode tunnel`;
  const policy = (selector: string, rest: string): Step => ({
    line: `xfrm policy add ${selector} ${rest}`,
    undo: `xfrm policy delete ${selector}`,
  });
  return [
    { line: `link add ${name} mtu ${mtu} type xfrm if_id ${number}`, undo: `link delete ${name}` },
    policy(`src 0.0.0.0/0 dst ${remote} dev ${name} dir out`, `priority ${PASS_PRIORITY} action allow`),
    policy(`src ${local} dst ${remote} dir out if_id ${number}`, template(outer.me, outer.peer)),
    policy(`src ${remote} dst ${local} dir in if_id ${number}`, template(outer.peer, outer.me)),
    { line: `address add ${overlay.local} peer ${overlay.remote} dev ${name}` },
    { line: `link set ${name} up` },
  ];
}

/** The security association for what comes in, or goes out: AES-256-GCM with a tag of 128 bits, and ESN (RFC 4303, 2.2.1). */
export function association(
  direction: 'in' | 'out',
  { number, outer }: Pick<Frame, 'number' | 'outer'>,
  { spi, key }: Association,
  ports?: Ports,
): Step {
  const [src, dst] = direction === 'in' ? [outer.peer, outer.me] : [outer.me, outer.peer];
  const [from, to] = direction === 'in' ? [ports?.peer, ports?.me] : [ports?.me, ports?.peer];
  const encap = ports === undefined ? undefined : inUdp(from as number, to as number, src);
  return {
    line: `xfrm state add ${text({ src, dst, spi })} ${PROPERTIES(number)} limit time-hard ${HARD_LIMIT}${encapsulation(encap)} aead rfc4106(gcm(aes)) 0x${key.toString('hex')} 128`,
    undo: remove({ src, dst, spi }).line,
  };
}

/** How ip(8) is told that ESP travels in UDP between two ports (RFC 3948). */
export function inUdp(from: number, to: number, address: string): string {
  return `espinudp ${from} ${to} ${isSix(address) ? '::' : '0.0.0.0'}`;
}

/** Ends a security association. */
export function remove(id: AssociationId): Step {
  return { line: `xfrm state delete ${text(id)}` };
}

/** Has a security association end by itself in {@link GRACE} seconds. @param age how old it is, seconds */
export function expire(number: number, id: AssociationId, age: number, encap?: string): Step {
  return update(number, id, age + GRACE, encap);
}

/** Has a security association travel between other UDP ports from now on. */
export function remap(number: number, id: AssociationId, encap: string): Step {
  return update(number, id, HARD_LIMIT, encap);
}

/**
 * Changes when a security association ends, in seconds from its beginning, and its ports, whatever becomes of the process
 * that wants it so. An update never changes the key: xfrm_state_update() in net/xfrm/xfrm_state.c. It has to name one of the
 * same form nevertheless.
 */
function update(number: number, id: AssociationId, limit: number, encap?: string): Step {
  return {
    line: `xfrm state update ${text(id)} ${PROPERTIES(number)} limit time-hard ${limit}${encapsulation(encap)} aead rfc4106(gcm(aes)) 0x${'00'.repeat(36)} 128`,
  };
}

/** af-unspec: IPv4 is inside, whatever is outside. */
const PROPERTIES = (number: number) =>
  `reqid ${number} mode tunnel if_id ${number} replay-window 128 flag af-unspec flag esn`;

function text({ src, dst, spi }: AssociationId): string {
  return `src ${src} dst ${dst} proto esp spi 0x${spi.toString(16)}`;
}

function encapsulation(encap: string | undefined): string {
  return encap === undefined ? '' : ` encap ${encap}`;
}
