import { recordDeletion } from '../../state/pending-deletions.js';
import { isInUse } from './carry-out-deletion.js';
import { createFarPart, type FarPartRequest } from './far-part.js';
import { deletionOf, type PlannedFarPart } from './far-parts-of.js';
import { undoFarPart } from './undo-far-part.js';

/** The link that the part is for has been deleted, or changed so that it needs it no more, while another machine was asked. */
export class NotNeeded extends Error {}

/**
 * Has another machine create its part of a link that exists, or tell its address, as {@link createFarPart} does. Nothing keeps the link
 * from being deleted meanwhile, and that machine from being told so first: then it is told again.
 *
 * @throws NotNeeded; as createFarPart
 */
export async function requestPart(
  part: PlannedFarPart,
  asked: Pick<FarPartRequest, 'options' | 'exactNames'>,
): ReturnType<typeof createFarPart> {
  const { link, far } = part;
  const answer = await createFarPart({ link, far, ...asked }).catch((error: Error) => error);
  if (!isInUse(far.partId)) {
    const reason = answer instanceof Error ? answer : new Error('it is not needed any more');
    const deletion = deletionOf(part);
    const { message } = await undoFarPart(deletion, recordDeletion(deletion), reason);
    throw new NotNeeded(
      `link "${link.id}" was deleted or changed while machine ${link.child.peer} was asked: ${message}`,
    );
  }
  if (answer instanceof Error) throw answer;
  return answer;
}
