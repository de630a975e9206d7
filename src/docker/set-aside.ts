import {
  ForeignContainer,
  inspectOwn,
  type Ownership,
  removeContainer,
  rename,
  stop,
} from './own-container.js';
import { containerName, formerName, holderName, type RunNames } from './runs.js';

/** How long a container may take to end, seconds: docker stop's own default. */
const STOP_SECONDS = 10;

/** A container of a run, what it is called, and what it is called while it is set aside. */
interface Aside {
  owner: Ownership;
  name: string;
  former: string;
  seconds: number;
}

/**
 * Stops the containers of a run, and gives them other names, while others are tried in their place. Then call either
 * {@link bringBackRun} or {@link discardFormerRun}.
 *
 * @throws ForeignContainer when a name is taken; EngineDown, or the engine's own error
 */
export async function setAsideRun(run: RunNames): Promise<void> {
  for (const { owner, name, former, seconds } of containersOf(run)) {
    const found = await findOwn(name, owner);
    if (found === undefined) continue;
    await stop(found, name, seconds);
    await rename(found, former);
  }
}

/**
 * Gives the containers of a run their names back, and removes those that were made in their place. What an earlier call has done
 * already is fine. @throws as setAsideRun
 */
export async function bringBackRun(run: RunNames): Promise<void> {
  for (const { owner, name, former } of containersOf(run)) {
    const found = await findOwn(former, owner);
    if (found === undefined) continue;
    const other = await findOwn(name, owner);
    if (other !== undefined) await removeContainer(other, { volumes: false });
    await rename(found, name);
  }
}

/**
 * Removes containers that {@link setAsideRun} has renamed. Their anonymous volumes, which only a container of an earlier version
 * has, stay with the engine: they hold data. @throws as setAsideRun
 */
export async function discardFormerRun(run: RunNames): Promise<void> {
  for (const { owner, former } of containersOf(run)) {
    const found = await findOwn(former, owner);
    if (found !== undefined) await removeContainer(found, { volumes: false });
  }
}

function containersOf({ name, link, said }: RunNames): Aside[] {
  const container = containerName(name, { ...(said !== undefined && { name: said }) });
  const former = formerName(name);
  return [
    { owner: { name, link, role: 'container' }, name: container, former, seconds: STOP_SECONDS },
    { owner: { name, link, role: 'netns' }, name: holderName(name), former: `${former}-netns`, seconds: 0 },
  ];
}

/** The id of a container. */
async function findOwn(dockerName: string, owner: Ownership): Promise<string | undefined> {
  try {
    return (await inspectOwn(dockerName, owner))?.Id;
  } catch (error) {
    if (error instanceof ForeignContainer) return undefined;
    throw error;
  }
}
