import type { Link } from './link.js';

/**
 * What this version can read in a recipe but not create: `udp`, the protocol.
 * Undefined when the link can be created.
 */
export function laterFeature({ head, tail, child }: Link): string | undefined {
  if (head.protocol === 'udp' || tail?.protocol === 'udp') return 'udp';
  return child && laterFeature(child.link);
}
