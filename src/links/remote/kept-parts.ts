import { readFarAddress, writeFarAddress } from '../../state/far-address.js';
import type { CreateOptions, PlannedLink } from '../../units/plan.js';
import { describeFailure, farPartsOf, type PlannedFarPart } from './far-parts-of.js';
import { requestPart } from './request-part.js';

/** Machines that are asked at the same time, after the first one has not answered. */
const AT_ONCE = 16;

/** The services that a changed link keeps machines of. */
export interface KeptServices {
  /** Those of which it can be used at least one. */
  served: ReadonlySet<string>;
  /** Why none of them can be used, of the others, a reason for each. */
  unserved: ReadonlyMap<string, string[]>;
}

/** A change of a link that has several tails. */
export interface LinkChange {
  /** The link and its parts, the parent first. */
  former: PlannedLink[];
  next: PlannedLink[];
  options: CreateOptions;
}

/**
 * Tells which services of a link are still served by machines that it has already. When others of the service are to go, one that stays has to
 * answer now, and publish it: it may be in the list and never have been there.
 */
export async function keptServices({ former, next, options }: LinkChange): Promise<KeptServices> {
  const before = usedParts(former);
  const known = new Set(farPartsOf(former).map(({ far }) => far.partId));
  const kept = usedParts(next).filter(({ far }) => known.has(far.partId));
  const staying = new Set(kept.map(({ far }) => far.partId));
  const gone = before.filter(({ far }) => !staying.has(far.partId));
  const losing = new Set(gone.map(({ link }) => link.child.service));
  const served = new Set<string>();
  const unserved = new Map<string, string[]>();
  for (const service of new Set(kept.flatMap(({ link }) => link.child.service ?? []))) {
    const own = kept.filter(({ link }) => link.child.service === service);
    // A part that waits for a connection is not created before that.
    const mayWait = !losing.has(service) || own.some(({ isEager }) => !isEager);
    const failures = mayWait ? undefined : await whyNone(own, options);
    if (failures === undefined) served.add(service);
    else unserved.set(service, failures);
  }
  return { served, unserved };
}

/** The parts of a link on other machines without those of machines that get no new client. */
function usedParts(parts: PlannedLink[]): PlannedFarPart[] {
  const tails = parts[0]?.link.tails ?? [];
  const leaving = new Set(tails.filter((tail) => tail.leaving).map(({ id }) => id));
  return farPartsOf(parts).filter(({ link }) => !leaving.has(link.id));
}

/** Asks machines until one has its part. Returns undefined then, and otherwise why each has not. */
async function whyNone(parts: PlannedFarPart[], options: CreateOptions): Promise<string[] | undefined> {
  const isKnown = ({ link }: PlannedFarPart) => 'address' in (readFarAddress(link.id) ?? {});
  const ordered = [...parts.filter(isKnown), ...parts.filter((part) => !isKnown(part))];
  const failures: string[] = [];
  while (ordered.length > 0) {
    const asked = ordered.splice(0, failures.length === 0 ? 1 : AT_ONCE);
    const outcomes = await Promise.all(
      asked.map((part) => ask(part, options).catch((error: Error) => describeFailure(part, error))),
    );
    if (outcomes.includes(undefined)) return undefined;
    failures.push(...outcomes.filter((outcome) => outcome !== undefined));
  }
  return failures;
}

async function ask(part: PlannedFarPart, options: CreateOptions): Promise<undefined> {
  writeFarAddress(part.link.id, await requestPart(part, { options, exactNames: true }));
}
