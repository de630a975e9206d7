import { Unreachable } from './api/connect.js';
import { type OpenDebt, type PartDebt, STRAY_MS } from './owed.js';
import { pay } from './pay.js';

/**
 * A create has failed: takes back what another machine has made for it, now or as soon as that can be reached.
 *
 * @returns the error to tell: the reason, and what is left on the other machine
 */
export async function takeBackFarPart(debt: PartDebt, open: OpenDebt, reason: Error): Promise<Error> {
  if (reason instanceof Unreachable && !reason.asked) {
    open.settle();
    return reason;
  }
  const lost = reason instanceof Unreachable;
  open.release(lost ? Date.now() + STRAY_MS : undefined);
  // One that has just fallen silent is not asked again while somebody waits.
  const left = lost ? reason.message : await pay(debt);
  if (left === undefined) return reason;
  return new Error(
    `${reason.message}; if machine ${debt.peer} has made its part, that goes when it answers again: see wormhole list`,
  );
}
