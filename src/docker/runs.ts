/** A container of a run: what does the work, or the holder, `netns`, whose network namespace that is in. */
export type Role = 'container' | 'netns';

/** A label of both containers of a run: the id of the link they belong to. */
export const linkLabel = 'wormhole.link';

/** A label of both containers of a run: its name, which tells it from the runs of all links. */
export const runLabel = 'wormhole.run';

/**
 * A label that tells the holder of a run, where it is `netns`, from its container, where it is `container`. The container always
 * has it, since its image may bring another one.
 */
export const roleLabel = 'wormhole.role';

/** A run, with the names of its containers. */
export interface RunNames {
  /** The run's own. */
  name: string;
  /** The id of its link. */
  link: string;
  /** What --name said, if it was said. */
  said?: string;
}

/** The name of a run's container: what --name said, if it was said. */
export function containerName(name: string, { name: said }: { name?: string } = {}): string {
  return said ?? `wormhole-${name}`;
}

/** The name of a run's holder, whose network namespace the container joins. */
export function holderName(name: string): string {
  return `${containerName(name)}-netns`;
}

/** The name of a run's former container, until a new one has taken over its volumes. */
export function replacedName(name: string): string {
  return `${containerName(name)}-replaced`;
}

/** The name of a run's container while another one is tried in its place, and the beginning of its holder's. */
export function formerName(name: string): string {
  return `${containerName(name)}-former`;
}
