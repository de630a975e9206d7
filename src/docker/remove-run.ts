import { finishKeeping } from './keep-run.js';
import { findOwn, labelledNames, type Ownership, removeContainer } from './own-container.js';
import { containerName, holderName, type RunNames, replacedName } from './runs.js';

/**
 * Removes the containers of a run, running or not, with their anonymous volumes. What is gone already is fine.
 *
 * @returns the names of the containers that have the labels of the run and are not its own: copies of them, or what somebody
 *   has renamed or labelled so; they stay
 * @throws EngineDown, or the engine's own error
 */
export async function removeRun(run: RunNames): Promise<string[]> {
  const { name, link } = run;
  // The holder goes last: without it, a container that is left over could not be started.
  await removeOwn(containerName(name, { ...(run.said !== undefined && { name: run.said }) }), {
    name,
    link,
    role: 'container',
  });
  await removeOwn(replacedName(name), { name, link, role: 'container' });
  // One that is kept could not be started either.
  await finishKeeping({ name, link });
  await removeOwn(holderName(name), { name, link, role: 'netns' });
  return labelledNames(name);
}

async function removeOwn(dockerName: string, owner: Ownership): Promise<void> {
  const found = await findOwn(dockerName, owner);
  if (found !== undefined) await removeContainer(found.Id, { volumes: true });
}
