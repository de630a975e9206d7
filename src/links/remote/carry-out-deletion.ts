import { requestDeletion } from '../../api/request-deletion.js';
import { readLinks } from '../../state/links.js';
import { forgetDeletion, type PartDeletion } from '../../state/pending-deletions.js';
import { unfinishedIds } from '../../state/unfinished.js';

/**
 * Tells another machine that it may remove its part of a link.
 *
 * @returns undefined when that is done, and the deletion forgotten; else why it could not be done, for people
 */
export async function carryOutDeletion(deletion: PartDeletion): Promise<string | undefined> {
  const reason = isInUse(deletion) ? undefined : await requestDeletion(deletion);
  if (reason === undefined) forgetDeletion(deletion);
  return reason;
}

/** A create that was killed after all but its last step has left a complete link. */
function isInUse({ partId }: PartDeletion): boolean {
  const unfinished = new Set(unfinishedIds());
  return readLinks().links.some(
    ({ id, root, far }) => id === root && far?.partId === partId && !unfinished.has(id),
  );
}
