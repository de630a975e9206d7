import type { ContainerCreateOptions } from 'dockerode';

/** When an image is pulled: before every start of a new container, when the engine lacks it, or not at all. */
export type PullPolicy = 'always' | 'missing' | 'never';

/**
 * What the arguments of a `docker-run` ask for.
 *
 * The container joins the network namespace of a holder, a second container that does nothing, so what docker run
 * would set up around a network goes to the holder and all else to the container.
 */
export interface RunRequest {
  /** As it was written: `nginx`, `ghcr.io/me/app:2`. */
  image: string;
  /** What --name said. */
  name?: string;
  /** What --pull said. */
  pull?: PullPolicy;
  /** `OS/ARCHITECTURE[/VARIANT]`, as in `linux/arm64`. Absent: the engine's own. */
  platform?: string;
  /** Absolute paths, read when the container is made; what they say comes before what -e says. */
  envFiles: string[];
  /** Hostname, ports, network, further hosts and name servers. */
  holder: ContainerCreateOptions;
  /** All the rest, command included. */
  container: ContainerCreateOptions;
}

/** What is wrong with the arguments of a `docker-run`. `message` is one line for people, and names the option. */
export class RunArgumentError extends Error {
  override readonly name = 'RunArgumentError';
}
