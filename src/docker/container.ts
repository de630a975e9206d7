import type { ContainerInspectInfo } from 'dockerode';
import { engine, explain, explainContainer, isAmbiguous, NoSuchContainer, statusOf } from './engine.js';

/** A container as far as links need to know it. `pid` is the process whose network namespace is the container's. */
export interface Container {
  id: string;
  name: string;
  running: boolean;
  pid: number;
  /** The files of this machine that are its /etc/resolv.conf and /etc/hosts; absent while it has none. */
  resolvConf?: string;
  hosts?: string;
}

/**
 * Finds the container that somebody means who types a name, an id or the beginning of an id. The engine prefers a whole id to
 * a name, and a name to the beginning of an id.
 *
 * @throws NoSuchContainer when there is none, or more than one id begins so; EngineDown, or the engine's own error
 */
export async function findContainer(reference: string): Promise<Container> {
  try {
    return asContainer(await (await engine()).getContainer(reference).inspect());
  } catch (error) {
    throw explainContainer(error, reference);
  }
}

/**
 * Finds the container that has exactly this name. What is kept is asked for so: to the engine itself, a name that no container
 * has any more is the beginning of an id.
 *
 * @throws NoSuchContainer, EngineDown, or the engine's own error
 */
export async function findByName(name: string): Promise<Container> {
  const found = await inspectByName(name);
  if (found === undefined) throw new NoSuchContainer(name);
  return asContainer(found);
}

/**
 * As {@link findContainer}, for what was typed some time ago: the beginning of an id may mean another container by now.
 *
 * @throws as findByName
 */
export async function findByNameOrId(reference: string): Promise<Container> {
  const found = await inspect(reference);
  return found?.Id === reference ? asContainer(found) : findByName(reference);
}

/**
 * All that the engine knows of the container that has exactly this name.
 *
 * @returns undefined when there is none
 * @throws EngineDown, or the engine's own error
 */
export async function inspectByName(name: string): Promise<ContainerInspectInfo | undefined> {
  const found = await inspect(name);
  if (found === undefined || nameOf(found) === name) return found;
  // A whole id hides a container that has it as its name.
  const id = await idOfName(name);
  return id === undefined ? undefined : inspect(id);
}

/** The name of a container; the engine writes it with a slash. */
export function nameOf({ Name }: Pick<ContainerInspectInfo, 'Name'>): string {
  return Name.replace(/^\//, '');
}

/** What links need to know of a container. */
export function asContainer(found: ContainerInspectInfo): Container {
  const { Id, State, ResolvConfPath, HostsPath } = found;
  return {
    id: Id,
    name: nameOf(found),
    running: State.Running && State.Pid > 0,
    pid: State.Pid,
    ...(ResolvConfPath && { resolvConf: ResolvConfPath }),
    ...(HostsPath && { hosts: HostsPath }),
  };
}

async function inspect(reference: string): Promise<ContainerInspectInfo | undefined> {
  try {
    return await (await engine()).getContainer(reference).inspect();
  } catch (error) {
    if (statusOf(error) === 404 || isAmbiguous(error)) return undefined;
    throw explain(error, `the Docker engine says of container "${reference}"`);
  }
}

async function idOfName(name: string): Promise<string | undefined> {
  try {
    const all = await (await engine()).listContainers({ all: true });
    return all.find(({ Names }) => Names.includes(`/${name}`))?.Id;
  } catch (error) {
    throw explain(error, `the Docker engine says of container "${name}"`);
  }
}
