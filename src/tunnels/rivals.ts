import { Failure } from '../api/failure.js';
import { tunnelNumber } from '../ipsec/names.js';
import { readTunnels } from '../state/tunnels.js';
import { type Tunnel, tunnelUnit } from '../units/tunnel.js';
import { openAnswers } from './negotiation.js';

/**
 * Makes sure that a tunnel takes nothing from those with other machines: its number, by which the kernel distinguishes them,
 * and the name of its unit.
 *
 * @throws Failure with code taken
 */
export function requireNoRival({ id, machine, peer }: Pick<Tunnel, 'id' | 'machine' | 'peer'>): void {
  const { tunnels, unreadable } = readTunnels();
  const others = [...tunnels, ...openAnswers().map(({ tunnel }) => tunnel)].filter(
    (other) => other.machine !== machine,
  );
  const rival = others.find((other) => tunnelNumber(other.id) === tunnelNumber(id));
  if (rival)
    throw new Failure(
      'taken',
      `tunnel ${id} has the number of the one to ${rival.peer}, which stays as it is`,
    );
  if (others.some((other) => tunnelUnit(other.peer) === tunnelUnit(peer)))
    throw new Failure(
      'taken',
      `there is a tunnel with another machine at ${peer}: wormhole tunnel-delete ${peer}`,
    );
  if (unreadable.some(({ unit }) => unit === tunnelUnit(peer)))
    throw new Failure('taken', `${tunnelUnit(peer)} cannot be read: see wormhole tunnel-list`);
}

/** Whether a number is that of a tunnel, or of one that another machine has proposed. */
export function isNumberTaken(number: number): boolean {
  const all = [...readTunnels().tunnels, ...openAnswers().map(({ tunnel }) => tunnel)];
  return all.some(({ id }) => tunnelNumber(id) === number);
}
