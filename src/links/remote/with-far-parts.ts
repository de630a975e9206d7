import { writeFarAddress } from '../../state/far-address.js';
import { recordDeletion } from '../../state/pending-deletions.js';
import type { CreateOptions } from '../../units/plan.js';
import { createFarPart } from './far-part.js';
import { deletionOf, type PlannedFarPart } from './far-parts-of.js';
import { undoFarPart } from './undo-far-part.js';
import { tunnelUndo } from './undo-tunnel.js';

/** What is asked of every machine. */
interface Asked {
  options: CreateOptions;
  exactNames: boolean;
}

/**
 * Has other machines create their parts of a link, one after the other, then does the work here, and removes the parts and their
 * tunnels again when anything fails.
 *
 * @param work gets a function that tells the forwarders where the parts are
 * @throws as createFarPart and `work`
 */
export async function withFarParts<T>(
  parts: PlannedFarPart[],
  asked: Asked,
  work: (tell: () => void) => Promise<T>,
): Promise<T> {
  const [first, ...others] = parts;
  if (!first) return work(() => {});
  const { link, far } = first;
  const { peer } = link.child;
  const deletion = deletionOf(first);
  const undoTunnel = await tunnelUndo(link);
  const held = recordDeletion(deletion);
  let result: T;
  let isCreated = false;
  try {
    const address = await createFarPart({ link, far, ...asked });
    isCreated = true;
    result = await withFarParts(others, asked, (tell) =>
      work(() => {
        writeFarAddress(link.id, address);
        tell();
      }),
    );
  } catch (error) {
    // That another machine was never asked says nothing of this one.
    const failure = isCreated ? new Error((error as Error).message) : (error as Error);
    const undone = await undoFarPart(deletion, held, failure);
    const reason = undone === failure ? (error as Error) : undone;
    await undoTunnel().catch(({ message }: Error) => {
      throw new Error(
        `${reason.message}; removing the tunnel failed too (${message}): wormhole tunnel-delete ${peer}`,
      );
    });
    throw reason;
  }
  held.discard();
  return result;
}
