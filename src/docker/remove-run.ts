import type { ContainerInfo } from 'dockerode';
import { engine, explain } from './engine.js';
import { removeContainer, roleIn } from './own-container.js';
import { linkLabel, type Role, runLabel } from './runs.js';

/** A container of a run, as it is found by its labels. */
export interface RunContainer {
  id: string;
  /** The run's. */
  name: string;
  link: string;
  /** What the engine calls it. */
  containerName: string;
  role: Role;
  running: boolean;
}

/**
 * Finds the containers of all runs of a link, or of all links.
 *
 * @throws EngineDown, or the engine's own error
 */
export async function findByLabel(link?: string): Promise<RunContainer[]> {
  return list(link === undefined ? [linkLabel] : [`${linkLabel}=${link}`]);
}

/**
 * Removes all containers of a run, running or not, with their anonymous volumes. What is gone already is fine.
 *
 * @throws EngineDown, or the engine's own error
 */
export async function removeRun(name: string): Promise<void> {
  const found = await list([`${runLabel}=${name}`]);
  // The holder goes last: without it, a container that is left over could not be started.
  found.sort((one, other) => Number(one.role === 'netns') - Number(other.role === 'netns'));
  for (const { id } of found) await removeContainer(id, { volumes: true });
}

async function list(labels: string[]): Promise<RunContainer[]> {
  try {
    const found = await (await engine()).listContainers({ all: true, filters: { label: labels } });
    return found.map(asRunContainer);
  } catch (error) {
    throw explain(error, 'the containers of links cannot be listed');
  }
}

function asRunContainer({ Id, Names, Labels, State }: ContainerInfo): RunContainer {
  return {
    id: Id,
    containerName: Names[0]?.replace(/^\//, '') ?? Id,
    link: Labels[linkLabel] ?? '',
    name: Labels[runLabel] ?? '',
    role: roleIn(Labels),
    running: State === 'running',
  };
}
