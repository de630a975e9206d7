import { type FarLink, findFarLink } from '../../recipe/link.js';
import { recipeText } from '../../recipe/text.js';
import type { PartDeletion } from '../../state/pending-deletions.js';
import { type FarPart, isEager, type PlannedLink } from '../../units/plan.js';

/** What a link has on another machine. */
export interface PlannedFarPart {
  link: FarLink;
  far: Pick<FarPart, 'partId' | 'keyFile'>;
  /** Whether it is created with the link, and not by the first connection. */
  isEager: boolean;
  /** The recipe of the whole link. */
  recipe: string;
}

/** What a link has on other machines: at most one part, or one for each of several tails. @param parts the parent first */
export function farPartsOf(parts: PlannedLink[]): PlannedFarPart[] {
  const [root] = parts;
  if (!root) return [];
  const candidates = root.link.tails ? parts.filter(({ tailOf }) => tailOf !== undefined) : [root];
  return candidates.flatMap((part) => {
    const link = findFarLink(part.link);
    if (!link || !part.far) return [];
    const { partId, keyFile } = part.far;
    const recipe = recipeText(root.link);
    return [{ link, far: { partId, keyFile }, isEager: isEager(part.link), recipe }];
  });
}

/** What tells another machine to delete its part of a link. */
export function deletionOf({ link, far, recipe }: PlannedFarPart): PartDeletion {
  return { kind: 'part', ...far, peer: link.child.peer, linkId: link.id, recipe, until: 0 };
}

/** Why a machine has no part, for people. The messages of some errors name the machine already. */
export function describeFailure({ link }: PlannedFarPart, { message }: Error): string {
  const { peer } = link.child;
  return message.includes(peer) ? message : `machine ${peer}: ${message}`;
}
