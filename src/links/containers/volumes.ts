import { existsSync } from 'node:fs';
import { EngineDown } from '../../docker/engine.js';
import { listVolumes, type OwnVolume, removeVolume } from '../../docker/volumes.js';
import { ENGINE_SOCKETS, engineKind } from '../../docker/which-engine.js';
import { withSystemd } from '../../systemd/systemd.js';
import { requireEngine } from './require-engine.js';

/** How long an engine may take to list its volumes before `wormhole list` does without them, ms. */
const LIST_MS = 5_000;

/**
 * The volumes that Wormhole has made; none on a machine without an engine. Starts no engine.
 *
 * @throws EngineDown when there is one that does not run, or the engine's own error
 */
export async function findVolumes(): Promise<OwnVolume[]> {
  if (!(await hasEngine())) return [];
  await requireEngine();
  return listVolumes();
}

/** As {@link findVolumes}; undefined when the engine cannot tell now. */
export async function findVolumesIfKnown(): Promise<OwnVolume[] | undefined> {
  try {
    if (!(await hasEngine())) return [];
    await requireEngine();
    return await listVolumes(LIST_MS);
  } catch (error) {
    if (error instanceof EngineDown) return undefined;
    throw error;
  }
}

/**
 * Removes the volumes that have been made for links of these ids since there were only the `former` ones. Returns their names.
 *
 * @throws EngineDown, or the engine's own error
 */
export async function removeNewVolumes(ids: string[], former: string[]): Promise<string[]> {
  const isNew = ({ name, link }: OwnVolume) => ids.includes(link) && !former.includes(name);
  const added = (await findVolumes()).filter(isNew).map(({ name }) => name);
  for (const name of added) await removeVolume(name);
  return added;
}

/** "volume "a", "b"" */
export function nameVolumes(volumes: OwnVolume[]): string {
  return `volume ${volumes.map(({ name }) => `"${name}"`).join(', ')}`;
}

async function hasEngine(): Promise<boolean> {
  if (process.env.DOCKER_HOST !== undefined || existsSync(ENGINE_SOCKETS[engineKind()])) return true;
  const { load } = await withSystemd((systemd) => systemd.state('docker.service'));
  return load === 'loaded';
}
