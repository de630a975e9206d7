import { writeFarAddress } from '../../state/far-address.js';
import { recordDeletion } from '../../state/pending-deletions.js';
import { createFarPart } from './far-part.js';
import { deletionOf, type PlannedFarPart } from './far-parts-of.js';
import { undoFarPart } from './undo-far-part.js';
import { tunnelUndo } from './undo-tunnel.js';
import { type Asked, withServiceParts } from './with-service-parts.js';

/**
 * Has other machines create their parts of a link, one after the other, then does the work here, and removes the parts and their
 * tunnels again when anything fails. For a service, one machine is enough.
 *
 * @param work gets a function that tells the forwarders where the parts are
 * @throws as createFarPart and `work`
 */
export function withFarParts<T>(
  parts: PlannedFarPart[],
  asked: Asked,
  work: (tell: () => void) => Promise<T>,
): Promise<T> {
  const isOfService = ({ link }: PlannedFarPart) => link.child.service !== undefined;
  const needed = parts.filter((part) => !isOfService(part));
  return withNeededParts(needed, asked, (tell) =>
    withServiceParts(parts.filter(isOfService), asked, (tellMore) =>
      work(() => {
        tell();
        tellMore();
      }),
    ),
  );
}

async function withNeededParts<T>(
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
    const { options, exactNames } = asked;
    const address = await createFarPart({ link, far, options, exactNames });
    isCreated = true;
    result = await withNeededParts(others, asked, (tell) =>
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
