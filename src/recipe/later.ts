import type { Recipe } from './recipe.js';

/** What this version can read in a recipe but not create: `udp`, the protocol. Undefined when it can create the link. */
export function laterFeature({ head, tail, child }: Recipe): string | undefined {
  if (head.protocol === 'udp' || tail?.protocol === 'udp') return 'udp';
  return child && laterFeature(child.link);
}
