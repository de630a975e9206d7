import pLimit from 'p-limit';
import { type FarAddress, writeFarAddress } from '../../state/far-address.js';
import { type HeldDeletion, type PartDeletion, recordDeletion } from '../../state/pending-deletions.js';
import type { CreateOptions } from '../../units/plan.js';
import { createFarPart } from './far-part.js';
import { deletionOf, describeFailure, type PlannedFarPart } from './far-parts-of.js';
import type { KeptServices } from './kept-parts.js';
import { undoFarPart } from './undo-far-part.js';
import { tunnelUndo } from './undo-tunnel.js';

/** What is asked of every machine. */
export interface Asked {
  options: CreateOptions;
  exactNames: boolean;
  /** The services of which the link keeps machines. Default none. */
  keptServices?: KeptServices;
  /** Is told which machines of services have no part yet, a line each. */
  note: (line: string) => void;
}

/** No machine of a service has created its part. */
export class ServiceUnavailable extends Error {}

/** Machines that are asked at the same time: one that is away is waited for, and the others are not to wait for it. */
const AT_ONCE = 16;

/** What has been asked of one machine. */
interface Attempt {
  part: PlannedFarPart;
  deletion: PartDeletion;
  held: HeldDeletion;
  undoTunnel: () => Promise<void>;
  outcome: (FarAddress & { address: string }) | Error;
}

/**
 * Has the machines of services create their parts of a link, then does the work here, and removes the parts again when that fails.
 * A machine that is away, or does not publish the service now, is asked again by the first client that is to go there. One machine of
 * each service must not be.
 *
 * @param work gets a function that tells the forwarders where the parts are
 * @throws ServiceUnavailable; as `work`
 */
export async function withServiceParts<T>(
  parts: PlannedFarPart[],
  { note, keptServices, ...asked }: Asked,
  work: (tell: () => void) => Promise<T>,
): Promise<T> {
  const limit = pLimit(AT_ONCE);
  const attempts = await Promise.all(
    parts.map((part) =>
      limit(async (): Promise<Attempt> => {
        const deletion = deletionOf(part);
        const undoTunnel = await tunnelUndo(part.link);
        const held = recordDeletion(deletion);
        const { link, far } = part;
        const outcome = await createFarPart({ link, far, ...asked }).catch((error: Error) => error);
        return { part, deletion, held, undoTunnel, outcome };
      }),
    ),
  );
  let result: T;
  try {
    requireOneOfEach(attempts, keptServices);
    result = await work(() => {
      for (const { part, outcome } of attempts)
        if (!(outcome instanceof Error)) writeFarAddress(part.link.id, outcome);
    });
  } catch (error) {
    throw await undo(attempts, error as Error);
  }
  for (const { held } of attempts) held.discard();
  for (const { part, outcome } of attempts)
    if (outcome instanceof Error) note(`${describeFailure(part, outcome)}. It is asked again for a client.`);
  return result;
}

function requireOneOfEach(attempts: Attempt[], kept?: KeptServices): void {
  const services = attempts.flatMap(({ part }) => part.link.child.service ?? []);
  for (const service of new Set([...services, ...(kept?.unserved.keys() ?? [])])) {
    if (kept?.served.has(service)) continue;
    const own = attempts.filter(({ part }) => part.link.child.service === service);
    if (own.some(({ outcome }) => !(outcome instanceof Error))) continue;
    const reasons = own.flatMap(({ part, outcome }) =>
      outcome instanceof Error ? describeFailure(part, outcome) : [],
    );
    const all = [...reasons, ...(kept?.unserved.get(service) ?? [])];
    throw new ServiceUnavailable(`no machine of service "${service}" can be used: ${all.join('; ')}`);
  }
}

/** Removes what the machines have created. Returns the error to report. */
async function undo(attempts: Attempt[], reason: Error): Promise<Error> {
  const left: string[] = [];
  for (const { part, deletion, held, undoTunnel, outcome } of attempts) {
    const failure = outcome instanceof Error ? outcome : new Error('');
    const undone = await undoFarPart(deletion, held, failure);
    if (undone !== failure && !(outcome instanceof Error)) left.push(undone.message.replace(/^; /, ''));
    const { peer } = part.link.child;
    await undoTunnel().catch(({ message }: Error) =>
      left.push(`removing the tunnel failed (${message}): wormhole tunnel-delete ${peer}`),
    );
  }
  return left.length === 0 ? reason : new Error([reason.message, ...left].join('; '));
}
