import { createHash } from 'node:crypto';
import type { VolumeInspectInfo } from 'dockerode';
import { engine, engineWithoutTimeout, explain, statusOf } from './engine.js';
import { linkLabel, runLabel } from './runs.js';

/** A label of a volume that belongs to a run: the path at which its container has it. */
export const pathLabel = 'wormhole.path';

/** The longest name of a volume, which is one of a directory, with room for what the engine may add. */
const LONGEST_NAME = 200;

/** From this version of the engine's API on, Docker 23, `prune` spares volumes that have a name. */
const SPARES_NAMED = [1, 42];

/** A volume that Wormhole has made for a container of a link. */
export interface OwnVolume {
  name: string;
  /** The id of the link. */
  link: string;
  /** The name of the run. */
  run: string;
  /** Where the container has it. */
  path: string;
}

/** Whose a volume has to be, and where in its container it is. */
export type VolumeOwner = Omit<OwnVolume, 'name'>;

/** A volume that a container is given. */
export interface GivenVolume {
  name: string;
  path: string;
  /** Whether it was there already, with data from before. */
  isKept: boolean;
}

/**
 * The name of a run's volume: `wormhole-NAME-var-lib-mysql`. Of the path, letters, digits and dots stay, a slash becomes `-`, and
 * every other byte `_` and two hexadecimal digits, so no two paths have one name; a name that would be too long ends in a
 * digest instead. Only a run with a hyphen in its name could have that of another one, which {@link ensureVolume} refuses.
 */
export function volumeName(run: string, path: string): string {
  const escaped = [...Buffer.from(path.slice(1))].map((byte) => {
    const char = String.fromCharCode(byte);
    if (char === '/') return '-';
    return /[A-Za-z0-9.]/.test(char) ? char : `_${byte.toString(16).padStart(2, '0')}`;
  });
  const name = `wormhole-${run}-${escaped.join('')}`;
  if (name.length <= LONGEST_NAME) return name;
  const digest = createHash('sha256').update(`${run}\0${path}`).digest('hex').slice(0, 16);
  return `${name.slice(0, LONGEST_NAME - digest.length - 1)}_${digest}`;
}

/**
 * Makes sure that the volume of a run exists. It survives the removal of its container, and `docker system prune`, also with
 * `--volumes`.
 *
 * @throws Error when a volume of that name is not this run's; EngineDown, or the engine's own error
 */
export async function ensureVolume(owner: VolumeOwner): Promise<GivenVolume> {
  const name = volumeName(owner.run, owner.path);
  const { path } = owner;
  const found = await inspectVolume(name);
  if (found === undefined) await create(name, owner);
  // Somebody else may have made it at the same moment: then the engine has created nothing.
  const volume = found ?? (await inspectVolume(name));
  if (volume === undefined) throw new Error(`volume "${name}" was removed as soon as it was made`);
  requireOwn(volume, owner);
  return { name, path, isKept: found !== undefined };
}

/** The volumes that Wormhole has made, sorted by name. @param timeout ms @throws EngineDown, or the engine's own error */
export async function listVolumes(timeout?: number): Promise<OwnVolume[]> {
  const signal = timeout === undefined ? {} : { abortSignal: AbortSignal.timeout(timeout) };
  const filters = JSON.stringify({ label: [linkLabel, runLabel, pathLabel] });
  try {
    const { Volumes } = await (await engine()).listVolumes({ filters, ...signal } as object);
    const own = (Volumes ?? []).flatMap((volume) => asOwn(volume) ?? []);
    return own.sort((one, other) => (one.name < other.name ? -1 : 1));
  } catch (error) {
    throw explain(error, 'the volumes of links cannot be listed');
  }
}

/** Removes a volume with its data; one that is gone is fine. @throws EngineDown, or the engine's own error, such as of one in use */
export async function removeVolume(name: string): Promise<void> {
  try {
    await (await engineWithoutTimeout()).getVolume(name).remove();
  } catch (error) {
    if (statusOf(error) !== 404) throw explain(error, `volume "${name}" cannot be removed`);
  }
}

async function inspectVolume(name: string): Promise<VolumeInspectInfo | undefined> {
  try {
    return await (await engine()).getVolume(name).inspect();
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw explain(error, `the Docker engine says of volume "${name}"`);
  }
}

async function create(name: string, { link, run, path }: VolumeOwner): Promise<void> {
  try {
    const docker = await engineWithoutTimeout();
    const { ApiVersion } = await docker.version();
    const sparesNamed = !isOlder(ApiVersion, SPARES_NAMED);
    await docker.createVolume({
      Name: name,
      Driver: 'local',
      Labels: { [linkLabel]: link, [runLabel]: run, [pathLabel]: path },
      ...(!sparesNamed && { DriverOpts: await ownDirectory(name) }),
    });
  } catch (error) {
    throw explain(error, `volume "${name}" cannot be made`);
  }
}

/**
 * Options by which a volume's own directory is mounted on itself, which changes nothing but one thing: engines before Docker 23
 * prune every volume that no container has, named or not, except those with options (service.go, Prune).
 */
async function ownDirectory(name: string): Promise<Record<string, string>> {
  const { DockerRootDir } = await (await engine()).info();
  return { type: 'none', o: 'bind', device: `${DockerRootDir}/volumes/${name}/_data` };
}

function isOlder(version: string, than: number[]): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [otherMajor = 0, otherMinor = 0] = than;
  return major < otherMajor || (major === otherMajor && minor < otherMinor);
}

function requireOwn(
  volume: { Name: string; Labels?: Record<string, string> | null },
  owner: VolumeOwner,
): void {
  const own = asOwn(volume);
  if (own && own.link === owner.link && own.run === owner.run && own.path === owner.path) return;
  const whose = own ? `is of link "${own.link}", for ${own.path}` : 'is not a volume of a link';
  throw new Error(
    `volume "${volume.Name}" exists and ${whose}: remove it, or name a volume for ${owner.path} with -v NAME:${owner.path}`,
  );
}

function asOwn({
  Name: name,
  Labels,
}: {
  Name: string;
  Labels?: Record<string, string> | null;
}): OwnVolume | undefined {
  const [link, run, path] = [linkLabel, runLabel, pathLabel].map((label) => Labels?.[label]);
  if (link === undefined || run === undefined || path === undefined) return undefined;
  return name === volumeName(run, path) ? { name, link, run, path } : undefined;
}
