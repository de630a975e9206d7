import type { Link } from './link.js';

/**
 * The first word of a recipe that this version can read but not create, such as `docker-run`; `udp` for the
 * protocol. Undefined when the link can be created.
 */
export function laterFeature(link: Link): string | undefined {
  const { head, tail, trigger, child } = link;
  if (head.protocol === 'udp') return 'udp';
  if (head.place.kind === 'run') return 'docker-run';
  if (trigger) return 'trigger';
  if (tail?.place.kind === 'run') return 'docker-run';
  return child?.kinship;
}
