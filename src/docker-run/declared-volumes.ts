import { posix } from 'node:path';
import type { MountSettings } from 'dockerode';
import type { RunRequest } from './request.js';

/**
 * The places of a container that need a volume and have none with a name: what its image declares with VOLUME, and what
 * docker-run was given as an anonymous volume (`-v /path`, or `--mount` without a source). Where the request has a bind, a
 * named volume or a tmpfs, there is nothing to add.
 *
 * @param declared the VOLUME of the image
 * @returns absolute paths without a slash at their end, each once, sorted
 */
export function anonymousVolumes({ container }: RunRequest, declared: string[]): string[] {
  const { Binds = [], Mounts = [], Tmpfs = {} } = container.HostConfig ?? {};
  const anonymous = Mounts.filter(isAnonymous).map(({ Target }) => Target);
  const taken = new Set(
    [
      ...Binds.map((bind) => bind.split(':')[1] ?? ''),
      ...Mounts.filter((mount) => !isAnonymous(mount)).map(({ Target }) => Target),
      ...Object.keys(Tmpfs),
    ].map(cleanPath),
  );
  const wanted = [...declared, ...Object.keys(container.Volumes ?? {}), ...anonymous].map(cleanPath);
  return [...new Set(wanted)].filter((path) => !taken.has(path)).sort();
}

/**
 * The mounts of a request, with the given volumes in the place of anonymous ones.
 *
 * @param volumes the names of volumes, by their paths
 */
export function withVolumes(mounts: MountSettings[], volumes: ReadonlyMap<string, string>): MountSettings[] {
  const left = new Map(volumes);
  const named = mounts.map((mount) => {
    const path = cleanPath(mount.Target);
    const Source = isAnonymous(mount) ? left.get(path) : undefined;
    if (Source === undefined) return mount;
    left.delete(path);
    return { ...mount, Source };
  });
  return [
    ...named,
    ...[...left].map(([Target, Source]): MountSettings => ({ Type: 'volume', Source, Target })),
  ];
}

/** A path as the engine compares it. */
export function cleanPath(path: string): string {
  return posix.join('/', path).replace(/(.)\/+$/, '$1');
}

function isAnonymous({ Type, Source }: MountSettings): boolean {
  return Type === 'volume' && Source === '';
}
