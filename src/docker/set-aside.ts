import { HOLDER_STOP_SECONDS } from './holder.js';
import { findOwn, type Ownership, removeContainer, rename, STOP_SECONDS, stop } from './own-container.js';
import { containerName, formerName, holderName, type RunNames } from './runs.js';

/** A run whose containers are set aside; `next` is the name of the container that is made in the place of its container. */
export interface RunAside extends RunNames {
  next?: string;
}

/** A container of a run, what it is called, and what it and the one in its place are called while it is set aside. */
interface Aside {
  owner: Ownership;
  name: string;
  former: string;
  next: string;
  seconds: number;
}

/**
 * Stops the containers of a run, and gives them other names, while others are tried in their place. Then call either
 * {@link bringBackRuns} or {@link discardFormerRun}. What an earlier change has left there goes.
 *
 * @throws ForeignContainer when a name is taken; EngineDown, or the engine's own error
 */
export async function setAsideRun(run: RunNames): Promise<void> {
  for (const { owner, name, former, seconds } of containersOf(run)) {
    const found = await findOwn(name, owner);
    if (found === undefined) continue;
    const older = await findOwn(former, owner);
    if (older !== undefined) await removeContainer(older.Id, { volumes: false });
    await stop(found.Id, name, seconds);
    await rename(found.Id, former);
  }
}

/**
 * Gives the containers of the runs of a link their names back, and removes those that were made in their place. What an earlier call
 * has done already is fine. @throws as setAsideRun
 */
export async function bringBackRuns(runs: RunAside[]): Promise<void> {
  const aside: { id: string; name: string }[] = [];
  for (const { owner, name, former, next } of runs.flatMap(containersOf)) {
    const found = await findOwn(former, owner);
    // What was not set aside yet has its own name.
    const made = found !== undefined || next !== name ? await findOwn(next, owner) : undefined;
    if (made !== undefined) await removeContainer(made.Id, { volumes: false });
    if (found !== undefined) aside.push({ id: found.Id, name });
  }
  // One container may have been made under the former name of another one.
  for (const { id, name } of aside) await rename(id, name);
}

/**
 * Removes containers that {@link setAsideRun} has renamed. Their anonymous volumes, which only a container of an earlier version
 * has, stay with the engine: they hold data. @throws as setAsideRun
 */
export async function discardFormerRun(run: RunNames): Promise<void> {
  for (const { owner, former } of containersOf(run)) {
    const found = await findOwn(former, owner);
    if (found !== undefined) await removeContainer(found.Id, { volumes: false });
  }
}

function containersOf({ name, link, said, next }: RunAside): Aside[] {
  const container = containerName(name, { ...(said !== undefined && { name: said }) });
  const former = formerName(name);
  return [
    {
      owner: { name, link, role: 'container' },
      name: container,
      former,
      next: next ?? container,
      seconds: STOP_SECONDS,
    },
    {
      owner: { name, link, role: 'netns' },
      name: holderName(name),
      former: `${former}-netns`,
      next: holderName(name),
      seconds: HOLDER_STOP_SECONDS,
    },
  ];
}
