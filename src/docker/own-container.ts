import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerCreateOptions, ContainerInspectInfo } from 'dockerode';
import { inspectByName } from './container.js';
import { engine, engineWithoutTimeout, explain, statusOf } from './engine.js';
import { isPauseImage } from './pause-image.js';
import { linkLabel, type Role, roleLabel, runLabel } from './runs.js';

/** How long the engine may take to carry out an action, in ms: it is slow on a machine that is booting. */
const ACTION_MS = 120_000;

/** How long the container of a run may take to end at its stop signal, seconds: docker stop's own default. */
export const STOP_SECONDS = 10;

/** A container has the name of one of ours and is not ours. */
export class ForeignContainer extends Error {}

/** Whose a container has to be: of which run, of which link (any, when absent), and what it is to the run. */
export interface Ownership {
  name: string;
  link?: string;
  role: Role;
}

/**
 * Looks for a container of a run by its name.
 *
 * @returns undefined when there is none, nor one that the engine is only about to forget
 * @throws ForeignContainer, EngineDown, or the engine's own error
 */
export async function inspectOwn(
  dockerName: string,
  owner: Ownership,
): Promise<ContainerInspectInfo | undefined> {
  const found = await inspectByName(dockerName);
  if (found === undefined) return undefined;
  if (!(await isOwn(found, owner))) {
    const labelled = found.Config.Labels[linkLabel];
    const isOthers = labelled !== undefined && owner.link !== undefined && labelled !== owner.link;
    const whose = isOthers ? `is of link "${labelled}"` : 'is not a container of a link';
    throw new ForeignContainer(
      `container "${dockerName}" exists and ${whose}: rename or remove it, or give this one another name with --name`,
    );
  }
  if (!['removing', 'dead'].includes(found.State.Status)) return found;
  // The command that is removing it decides about its volumes; a new one may have taken them over.
  await removeContainer(found.Id, { volumes: false });
  return undefined;
}

/** As {@link inspectOwn}; undefined also when a container that has the name is not ours. */
export async function findOwn(
  dockerName: string,
  owner: Ownership,
): Promise<ContainerInspectInfo | undefined> {
  try {
    return await inspectOwn(dockerName, owner);
  } catch (error) {
    if (error instanceof ForeignContainer) return undefined;
    throw error;
  }
}

/**
 * Whether a container that has the right name is one of a run. Labels alone do not say so: docker commit copies them, images bring
 * them, and anyone who may use the engine can set any. What a holder runs is in its image, and a container is in the network
 * of a holder.
 */
async function isOwn(found: ContainerInspectInfo, { name, link, role }: Ownership): Promise<boolean> {
  const labels = found.Config.Labels;
  const isLabelled =
    labels[runLabel] === name &&
    labels[linkLabel] !== undefined &&
    labels[linkLabel] === (link ?? labels[linkLabel]) &&
    roleIn(labels) === role;
  if (!isLabelled) return false;
  if (role === 'netns') return isPauseImage(found.Image);
  return /^container:/.test(found.HostConfig.NetworkMode ?? '');
}

/** What the labels of a container say it is to its run. */
function roleIn(labels: Record<string, string>): Role {
  return labels[roleLabel] === 'netns' ? 'netns' : 'container';
}

/**
 * Makes a container of a run, or finds the one that somebody else has made at the same moment.
 *
 * @param container.platform as in RunRequest
 * @returns its id
 * @throws ForeignContainer, EngineDown, or the engine's own error
 */
export async function createOwn({
  dockerName,
  owner,
  options,
  platform,
}: {
  dockerName: string;
  owner: Required<Ownership>;
  options: ContainerCreateOptions;
  platform?: string | undefined;
}): Promise<string> {
  const labels = {
    [linkLabel]: owner.link,
    [runLabel]: owner.name,
    [roleLabel]: owner.role,
  };
  const request = {
    // Without these two, dockerode writes all options, environment included, into the address as well.
    _query: { name: dockerName, ...(platform !== undefined && { platform }) },
    _body: { ...options, Labels: { ...options.Labels, ...labels } },
  };
  const until = performance.now() + ACTION_MS;
  for (;;) {
    try {
      const engine = await engineWithoutTimeout();
      return (await engine.createContainer({ ...request, abortSignal: inTime() })).id;
    } catch (error) {
      const taken = statusOf(error) === 409;
      const made = taken ? await inspectOwn(dockerName, owner) : undefined;
      if (made !== undefined) return made.Id;
      if (!taken || performance.now() > until)
        throw explain(error, `container "${dockerName}" cannot be made`);
    }
    // The engine takes a name before it knows the container, such as for one that has been killed since it asked.
    await sleep(50);
  }
}

/**
 * Starts a container that may be running already.
 *
 * @throws EngineDown, or the engine's own error
 */
export async function start(id: string, name: string): Promise<void> {
  const container = (await engineWithoutTimeout()).getContainer(id);
  await tolerate([304], container.start({ abortSignal: inTime() }), `container "${name}" does not start`);
}

/**
 * Stops a container that may have ended or be gone already: with its own signal, by default SIGTERM, and with SIGKILL
 * when it has not ended after `seconds`.
 *
 * @throws EngineDown, or the engine's own error
 */
export async function stop(id: string, name: string, seconds: number): Promise<void> {
  const container = (await engineWithoutTimeout()).getContainer(id);
  const stopping = container.stop({ t: seconds, abortSignal: inTime(seconds * 1000) });
  await tolerate([304, 404], stopping, `container "${name}" does not stop`);
}

/**
 * Removes a container, running or not, and comes back when its name is free. One that is gone is fine.
 *
 * @param volumes whether its anonymous volumes go with it
 * @throws EngineDown, or the engine's own error
 */
export async function removeContainer(id: string, { volumes }: { volumes: boolean }): Promise<void> {
  const container = (await engineWithoutTimeout()).getContainer(id);
  const what = `container ${id.slice(0, 12)} cannot be removed`;
  // 409: somebody else is removing it.
  await tolerate([404, 409], container.remove({ force: true, v: volumes, abortSignal: inTime() }), what);
  const until = performance.now() + ACTION_MS;
  while (await exists(id)) {
    if (performance.now() > until)
      throw new Error(`${what}: the engine has not done it in ${ACTION_MS / 1000} s`);
    await sleep(50);
  }
}

async function exists(id: string): Promise<boolean> {
  try {
    await (await engine()).getContainer(id).inspect();
    return true;
  } catch (error) {
    if (statusOf(error) === 404) return false;
    throw explain(error, `the Docker engine says of container ${id.slice(0, 12)}`);
  }
}

/** The names of all containers with the label of a run, its own and others, sorted. @throws EngineDown, or the engine's own error */
export async function labelledNames(run: string): Promise<string[]> {
  try {
    const found = await (await engine()).listContainers({
      all: true,
      filters: { label: [`${runLabel}=${run}`] },
    });
    return found.map(({ Names, Id }) => Names[0]?.replace(/^\//, '') ?? Id).sort();
  } catch (error) {
    throw explain(error, 'the containers of links cannot be listed');
  }
}

/** Gives another name to a container. @throws EngineDown, or the engine's own error */
export async function rename(id: string, name: string): Promise<void> {
  const container = (await engine()).getContainer(id);
  await tolerate([], container.rename({ name }), `container ${id.slice(0, 12)} cannot be renamed`);
}

function inTime(more = 0): AbortSignal {
  return AbortSignal.timeout(ACTION_MS + more);
}

async function tolerate(statuses: number[], request: Promise<unknown>, what: string): Promise<void> {
  try {
    await request;
  } catch (error) {
    if (!statuses.includes(statusOf(error) ?? 0)) throw explain(error, what);
  }
}
