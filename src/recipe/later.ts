import type { End, Link } from './link.js';

/**
 * The first word of a recipe that this version can read but not create, such as `docker-run`; `udp` for the
 * protocol. Undefined when the link can be created.
 */
export function laterFeature(link: Link): string | undefined {
  const { head, tail, trigger, child } = link;
  if (laterEnd(head)) return laterEnd(head);
  if (trigger) return 'trigger';
  if (tail && laterEnd(tail)) return laterEnd(tail);
  return child?.kinship === 'chain' ? laterFeature(child.link) : child?.kinship;
}

function laterEnd(end: End): string | undefined {
  if (end.protocol === 'udp') return 'udp';
  return end.place.kind === 'run' ? 'docker-run' : undefined;
}
