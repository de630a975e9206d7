import { inspectByName } from './container.js';
import { HOLDER_STOP_SECONDS } from './holder.js';
import { findOwn, labelledNames, rename, STOP_SECONDS, stop } from './own-container.js';
import { containerName, holderName, type RunNames } from './runs.js';

/** A container that stays when its link is deleted, and the holder of its network namespace, without which it does not start. */
export interface KeptRun {
  container: string;
  holder?: string;
}

/** What the names of containers that are kept end in. */
const KEPT = /-kept(?:-[0-9]+)?$/;

/** Whether a container of a run, or the holder of one, has been kept: it is the user's from then on. */
export function isKept(name: string): boolean {
  return KEPT.test(name.replace(/-netns$/, ''));
}

/**
 * Stops the containers of a run and gives them other names, so that a new link of the same id has containers of its own and
 * these can still be started. The engine knows the holder of a container by its id.
 *
 * @returns undefined when the run has no container; as {@link finishKeeping} if an earlier call was killed
 * @throws EngineDown, or the engine's own error; the names are as they were then
 */
export async function keepRun({ name, link, said }: RunNames): Promise<KeptRun | undefined> {
  const called = containerName(name, { ...(said !== undefined && { name: said }) });
  const found = await findOwn(called, { name, link, role: 'container' });
  if (found === undefined) return finishKeeping({ name, link });
  const holder = await findOwn(holderName(name), { name, link, role: 'netns' });
  await stop(found.Id, called, STOP_SECONDS);
  if (holder) await stop(holder.Id, holderName(name), HOLDER_STOP_SECONDS);
  const container = await freeName(`${containerName(name)}-kept`);
  await rename(found.Id, container);
  if (!holder) return { container };
  try {
    await rename(holder.Id, `${container}-netns`);
  } catch (error) {
    await rename(found.Id, called);
    throw error;
  }
  return { container, holder: `${container}-netns` };
}

/**
 * Gives the holder of a run the name that it lacks if {@link keepRun} was killed when the container had its own: the run may have
 * another container by now, and only this one needs the holder when the run goes.
 *
 * @returns undefined when no container that is kept is in the network of the holder
 * @throws EngineDown, or the engine's own error
 */
export async function finishKeeping({ name, link }: RunNames): Promise<KeptRun | undefined> {
  const holder = await findOwn(holderName(name), { name, link, role: 'netns' });
  if (holder === undefined) return undefined;
  for (const container of await labelledNames(name)) {
    if (!KEPT.test(container)) continue;
    const kept = await findOwn(container, { name, link, role: 'container' });
    if (kept?.HostConfig.NetworkMode !== `container:${holder.Id}`) continue;
    await stop(holder.Id, holderName(name), HOLDER_STOP_SECONDS);
    await rename(holder.Id, `${container}-netns`);
    return { container, holder: `${container}-netns` };
  }
  return undefined;
}

/** Gives the containers of a run the names back that {@link keepRun} has taken from them. @throws EngineDown, or the engine's own error */
export async function takeBackRun({ name, link, said }: RunNames, kept: KeptRun): Promise<void> {
  const container = await findOwn(kept.container, { name, link, role: 'container' });
  const called = containerName(name, { ...(said !== undefined && { name: said }) });
  if (container !== undefined) await rename(container.Id, called);
  if (kept.holder === undefined) return;
  const holder = await findOwn(kept.holder, { name, link, role: 'netns' });
  if (holder !== undefined) await rename(holder.Id, holderName(name));
}

async function freeName(base: string): Promise<string> {
  for (let n = 1; ; n++) {
    const name = n === 1 ? base : `${base}-${n}`;
    if (!(await inspectByName(name)) && !(await inspectByName(`${name}-netns`))) return name;
  }
}
