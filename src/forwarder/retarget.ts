import { type Address, peerOf } from './address.js';
import type { Relay } from './connection.js';
import { abort, connected, redial } from './dial.js';
import { explainRejections } from './far-failure.js';
import { describeName, setList } from './named-targets.js';
import type { Resolution } from './resolver.js';
import { E } from './syscalls.js';
import { start } from './timers.js';

/**
 * Points the link at the address that its resolver has found, and redirects the clients that have no target
 * yet. Clients whose connection attempt to another address is pending connect to the new one. If there is a
 * reason why there is no target, all of them are reset. Clients that wait for their next attempt keep
 * waiting.
 */
export function retarget(relay: Relay, answer: Resolution): void {
  const { to } = answer;
  const hasMoved =
    to !== undefined && (to.text !== relay.to?.text || to.device?.text !== relay.to.device?.text);
  setTarget(relay, to);
  explainRejections(relay, answer);
  for (const connection of relay.connections ?? []) {
    if (connection.connected) continue;
    const { fd } = connection.target;
    // The target has accepted, and neither side has sent anything yet.
    if (fd >= 0 && peerOf(fd) !== undefined) connected(connection);
    else if (answer.reason !== undefined) abort(connection, `unreachable ${answer.reason}`, answer.reason);
    else if (hasMoved && fd >= 0) redial(connection);
  }
}

/**
 * Gives the link the addresses that its name has now. Clients that wait for them are connected; those whose attempt is to an address
 * that the name has no longer begin again.
 */
export function retargetName(relay: Relay, answer: Resolution): void {
  const { named, loop } = relay;
  setNamedTarget(relay, answer);
  const current = new Set(named?.list.map(({ text }) => text));
  for (const connection of relay.connections ?? []) {
    if (connection.connected) continue;
    const { target, dialled, failure } = connection;
    // The target has accepted, and neither side has sent anything yet.
    if (target.fd >= 0 && peerOf(target.fd) !== undefined) connected(connection);
    else if (target.fd >= 0 && !current.has(dialled?.text ?? '')) redial(connection);
    else if (target.fd < 0 && current.size > 0 && (failure === 0 || failure === E.EDESTADDRREQ))
      redial(connection);
    else if (target.fd < 0 && failure === 0) start(loop.timers, connection.timer, loop.now);
  }
}

/** Sets the addresses of a link whose target has a name. */
export function setNamedTarget(relay: Relay, { list = [], expiresAt, problem }: Resolution): void {
  const { named, loop } = relay;
  if (named === undefined) return;
  setList(named, list, loop.now);
  named.expiresAt = expiresAt ?? Number.NEGATIVE_INFINITY;
  named.problem = problem;
  named.waitUntil = Number.NEGATIVE_INFINITY;
  relay.to = named.list[0];
  relay.target = describeTarget(describeName(named), relay.location);
}

/** Sets the target of the link; undefined if its address is unknown. */
export function setTarget(relay: Relay, to: Address | undefined): void {
  relay.to = to;
  relay.target = describeTarget(to?.text, relay.location);
}

/**
 * "127.0.0.1:3306 in container mysql" or "10.90.0.2:61234 on machine beta"; without an address, only the
 * location.
 */
function describeTarget(to: string | undefined, location: string | undefined): string {
  if (to === undefined) return location ?? 'the far side';
  if (location === undefined) return to;
  return `${to} ${/^(?:machine |this host\b)/.test(location) ? 'on' : 'in'} ${location}`;
}
