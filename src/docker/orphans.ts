import type { ContainerInspectInfo } from 'dockerode';
import { nameOf } from './container.js';
import { engine, explain, statusOf } from './engine.js';
import { isKept } from './keep-run.js';
import { removeContainer } from './own-container.js';
import { isPauseImage } from './pause-image.js';
import { linkLabel, roleLabel, runLabel } from './runs.js';

/** A container with the labels of a link that does not exist. `isOurs` says whether it is one that Wormhole has made. */
export interface Orphan {
  id: string;
  name: string;
  link: string;
  isOurs: boolean;
}

/**
 * The containers that have the label of a link whose id is not among the known ones, except those that delete --keep has kept. Those of
 * the same run are side by side: what does the work first, its holder last.
 *
 * @throws EngineDown, or the engine's own error
 */
export async function orphansOf(known: ReadonlySet<string>): Promise<Orphan[]> {
  const found = (await labelled()).filter(
    (one) => !known.has(one.Config.Labels[linkLabel] ?? '') && !isKept(nameOf(one)),
  );
  const orphans = await Promise.all(
    found.map(async (one) => ({
      id: one.Id,
      name: nameOf(one),
      link: one.Config.Labels[linkLabel] ?? '',
      isHolder: one.Config.Labels[roleLabel] === 'netns',
      isOurs: await isOurs(one, found),
    })),
  );
  return orphans
    .toSorted((one, other) => Number(one.isHolder) - Number(other.isHolder))
    .map(({ isHolder: _, ...orphan }) => orphan);
}

/** Removes an orphan that is ours, running or not; its volumes stay. @throws as orphansOf */
export async function removeOrphan({ id, isOurs }: Orphan): Promise<void> {
  if (isOurs) await removeContainer(id, { volumes: false });
}

/**
 * Labels alone do not say that a container is ours: docker commit copies them, and anyone who may use the engine can set any. A holder
 * runs our program, which is in its image; what does the work is in the network of such a holder of the same run.
 */
async function isOurs(found: ContainerInspectInfo, all: ContainerInspectInfo[]): Promise<boolean> {
  const { Labels } = found.Config;
  if (Labels[runLabel] === undefined) return false;
  if (Labels[roleLabel] === 'netns') return isPauseImage(found.Image);
  const [, holderId] = /^container:(.+)$/.exec(found.HostConfig.NetworkMode ?? '') ?? [];
  const holder = all.find(
    ({ Id, Config }) =>
      Id === holderId && Config.Labels[roleLabel] === 'netns' && Config.Labels[runLabel] === Labels[runLabel],
  );
  return holder !== undefined && isPauseImage(holder.Image);
}

async function labelled(): Promise<ContainerInspectInfo[]> {
  try {
    const docker = await engine();
    const found = await docker.listContainers({ all: true, filters: { label: [linkLabel] } });
    const inspected = await Promise.all(
      found.map(({ Id }) =>
        docker
          .getContainer(Id)
          .inspect()
          .catch((error: unknown) => {
            // It has been removed meanwhile.
            if (statusOf(error) === 404) return undefined;
            throw error;
          }),
      ),
    );
    return inspected.filter((one) => one !== undefined);
  } catch (error) {
    throw explain(error, 'the containers of links cannot be listed');
  }
}
