import type { PlannedLink } from '../../units/plan.js';
import { contentOf, unitsOfLink } from './drop-ins.js';
import { type DescribedLink, linkText } from './text.js';

/** What a file would say of a link that exists. */
export function describeLink({ id, link, options }: PlannedLink): DescribedLink {
  return { recipe: link, options, extra: contentOf(unitsOfLink(id)).extra };
}

/** The file that describes a link that exists. */
export function fileOfLink(root: PlannedLink): string {
  return linkText(describeLink(root), root.id);
}
