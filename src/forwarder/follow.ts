import { type Address, peerOf } from './address.js';
import type { Relay } from './connection.js';
import { connected, redial, sendAway } from './dial.js';
import type { Answer } from './guide.js';

/**
 * Turns the link to where its guide says the target is, and with it the clients that have no target yet: those who
 * wait for an answer of another address are dialled anew, and all are sent away when there is a reason why there is
 * no target. Who waits between two dials goes on as before.
 */
export function follow(relay: Relay, answer: Answer): void {
  const { to } = answer;
  const hasMoved =
    to !== undefined && (to.text !== relay.to?.text || to.device?.text !== relay.to.device?.text);
  aim(relay, to);
  for (const connection of relay.connections ?? []) {
    if (connection.connected) continue;
    const { fd } = connection.target;
    // It has accepted, and nobody has said anything yet.
    if (fd >= 0 && peerOf(fd) !== undefined) connected(connection);
    else if (answer.reason !== undefined) sendAway(connection, `told ${answer.reason}`, answer.reason);
    else if (hasMoved && fd >= 0) redial(connection);
  }
}

/** Turns the link to the target `to`; undefined: its address is not known. */
export function aim(relay: Relay, to: Address | undefined): void {
  relay.to = to;
  relay.target = targetWords(to?.text, relay.place);
}

/** "127.0.0.1:3306 in container mysql", "10.90.0.2:61234 on machine beta"; without an address, only where it is. */
function targetWords(to: string | undefined, place: string | undefined): string {
  if (to === undefined) return place ?? 'the far side';
  if (place === undefined) return to;
  return `${to} ${place.startsWith('machine ') ? 'on' : 'in'} ${place}`;
}
