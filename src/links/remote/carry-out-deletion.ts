import { requestDeletion } from '../../api/request-deletion.js';
import { changingLinks } from '../../state/former-links.js';
import { readLinks } from '../../state/links.js';
import { forgetDeletion, type PartDeletion } from '../../state/pending-deletions.js';
import { unfinishedIds } from '../../state/unfinished.js';

/**
 * Tells another machine that it may remove its part of a link.
 *
 * @returns undefined when that is done, and the deletion forgotten; else why it could not be done, for people
 */
export async function carryOutDeletion(deletion: PartDeletion): Promise<string | undefined> {
  const { partId } = deletion;
  const half = halfChangedLink(partId);
  if (half !== undefined)
    return `link "${half}" is half changed, and the next command that changes links decides whether it needs that part`;
  // A command that was killed after all but its last step has left a complete link.
  const reason = isInUse(partId) ? undefined : await requestDeletion(deletion);
  if (reason === undefined) forgetDeletion(deletion);
  return reason;
}

/** Whether a link of this machine has a part of that id, and none that is being created or deleted. */
export function isInUse(partId: string): boolean {
  const unfinished = new Set(unfinishedIds());
  return readLinks().links.some(({ root, far }) => far?.partId === partId && !unfinished.has(root));
}

/** The id of the link that has that part either before or after a change which is under way, or was killed. */
function halfChangedLink(partId: string): string | undefined {
  const changing = [...changingLinks()].filter(([, { removed }]) => removed === undefined);
  if (changing.length === 0) return undefined;
  const roots = readLinks().links.flatMap(({ root, far }) => (far?.partId === partId ? root : []));
  const [id] =
    changing.find(
      ([root, { units }]) => roots.includes(root) || units.some(({ text }) => text.includes(partId)),
    ) ?? [];
  return id;
}
