import type { Link } from './link.js';

/**
 * The first word of a recipe that this version can read but not create, such as `tunnel`; `udp` for the protocol.
 * Undefined when the link can be created.
 */
export function laterFeature({ head, tail, child }: Link): string | undefined {
  if (head.protocol === 'udp' || tail?.protocol === 'udp') return 'udp';
  if (child === undefined) return undefined;
  return child.kinship === 'tunnel' || child.kinship === 'udptunnel'
    ? child.kinship
    : laterFeature(child.link);
}
