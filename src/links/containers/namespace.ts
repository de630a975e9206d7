import { existsSync, statSync } from 'node:fs';
import { findByName } from '../../docker/container.js';
import { findHolder } from '../../docker/holder.js';
import type { PlaceId } from '../../recipe/link.js';
import { requireEngine } from './require-engine.js';

/**
 * A network namespace: a file that leads to it, and the inode that identifies it. In it, names are looked up as `resolvConf` and
 * `hosts` say, files of this machine, if it has its own.
 */
export interface Namespace {
  path: string;
  inode: number;
  resolvConf?: string;
  hosts?: string;
}

/** A place that does not exist now: its container does not run, its namespace is missing, its engine is down. */
export class PlaceAbsent extends Error {}

/** Where `ip netns` keeps its namespaces, ip-netns(8). */
export const NAMED_DIR = '/run/netns';

/**
 * Finds the network namespace of a place at this moment.
 *
 * That of a container is read from its process, which is right for every kind of networking: its own, the host's
 * (`--network host`) and another container's (`--network container:OTHER`).
 *
 * @throws PlaceAbsent when there is none now; NoSuchContainer, ForeignContainer; other errors when that cannot be determined
 */
export async function findNamespace(place: PlaceId): Promise<Namespace> {
  if (place.kind === 'host') return identify('/proc/self/ns/net');
  if (place.kind === 'netns') {
    const path = `${NAMED_DIR}/${place.name}`;
    // `ip netns add` creates the file first and mounts the namespace on it later.
    if (!isNamespace(path))
      throw new PlaceAbsent(`there is no network namespace "${place.name}": see ip netns list`);
    const own = `/etc/netns/${place.name}`;
    return { ...identify(path), resolvConf: `${own}/resolv.conf`, hosts: `${own}/hosts` };
  }
  const find = place.kind === 'run' ? findHolder : findByName;
  await requireEngine();
  const { running, pid, name, resolvConf, hosts } = await find(place.name);
  if (!running)
    throw new PlaceAbsent(`container "${name}" is not running: start it with docker start ${name}`);
  const path = `/proc/${pid}/ns/net`;
  const found = existsSync(path) ? identify(path) : undefined;
  // Asked again: if the container ended before stat(2), its process id may have become that of another process.
  if (found === undefined || (await find(place.name)).pid !== pid) {
    throw new PlaceAbsent(`container "${name}" has just ended`);
  }
  return { ...found, ...(resolvConf !== undefined && { resolvConf }), ...(hosts !== undefined && { hosts }) };
}

/** Whether a path is a network namespace: a file of nsfs, as our own namespace is. */
export function isNamespace(path: string): boolean {
  return existsSync(path) && statSync(path).dev === statSync('/proc/self/ns/net').dev;
}

/** The namespace behind a path. @throws the error of stat(2) */
export function identify(path: string): Namespace {
  return { path, inode: statSync(path).ino };
}
