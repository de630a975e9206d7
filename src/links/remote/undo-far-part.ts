import { Unreachable } from '../../api/connect.js';
import { type HeldDeletion, type PartDeletion, STRAY_REQUEST_MS } from '../../state/pending-deletions.js';
import { carryOutDeletion } from './carry-out-deletion.js';

/**
 * A create has failed: deletes what another machine has created for it, now or as soon as that machine can be reached.
 *
 * @returns the error to report: the reason, and what is left on the other machine
 */
export async function undoFarPart(deletion: PartDeletion, held: HeldDeletion, reason: Error): Promise<Error> {
  if (reason instanceof Unreachable && !reason.asked) {
    held.discard();
    return reason;
  }
  const isLost = reason instanceof Unreachable;
  held.release(isLost ? Date.now() + STRAY_REQUEST_MS : undefined);
  // A machine that has just fallen silent is not asked again while the user waits.
  const left = isLost ? reason.message : await carryOutDeletion(deletion);
  if (left === undefined) return reason;
  return new Error(
    `${reason.message}; if machine ${deletion.peer} has created its part, that is deleted when the machine answers again: see wormhole list`,
  );
}
