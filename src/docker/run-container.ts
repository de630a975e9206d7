import { readlink } from 'node:fs/promises';
import type { ContainerInspectInfo } from 'dockerode';
import { anonymousVolumes, cleanPath, withVolumes } from '../docker-run/declared-volumes.js';
import type { RunRequest } from '../docker-run/request.js';
import { asState, type ContainerState } from './container-state.js';
import { readEnvFiles } from './env-file.js';
import { declaredVolumes } from './image.js';
import {
  createOwn,
  findOwn,
  inspectOwn,
  type Ownership,
  removeContainer,
  rename,
  STOP_SECONDS,
  start,
  stop,
} from './own-container.js';
import { containerName, holderName, replacedName } from './runs.js';
import { ensureVolume, type GivenVolume, volumeName } from './volumes.js';

/** A container that runs now. */
export interface Started {
  /** What the engine calls it. */
  container: string;
  /** By which one container is told from another of the same name. */
  id: string;
  /** The volumes of its own that it was given, if it is a new one. */
  volumes?: GivenVolume[];
  /** What was out of the ordinary and has been put right, in one line. */
  warning?: string;
}

/**
 * Makes sure that the container of a run is there and runs in the network namespace of its holder, which runs already.
 * The image must be there. Whatever state an earlier call was killed in, another one completes it.
 *
 * A container whose holder has been removed by hand can never start again: it is replaced by a new one, with a
 * warning. Its volumes, anonymous ones too, are taken over; what it wrote elsewhere is lost.
 *
 * A volume that the image declares, or that was given without a name, gets a name and outlives the container: see
 * {@link ensureVolume}.
 *
 * @throws ForeignContainer, EngineDown, an Error about --env-file, or the engine's own error
 */
export async function startContainer(name: string, link: string, request: RunRequest): Promise<Started> {
  const container = containerName(name, request);
  const owner = { name, link, role: 'container' } as const;
  const holder = await inspectOwn(holderName(name), { ...owner, role: 'netns' });
  if (!holder?.State.Running) throw new Error(`container "${holderName(name)}" does not run`);
  const found = await inspectOwn(container, owner);
  const stale = found !== undefined && found.HostConfig.NetworkMode !== `container:${holder.Id}`;
  if (stale) await setAside(found, container, owner);
  const replaced = await inspectOwn(replacedName(name), owner);
  const made = found && !stale ? undefined : await make(owner, request, holder.Id, replaced);
  const id = made?.id ?? found?.Id ?? '';
  if (replaced !== undefined) await removeContainer(replaced.Id, { volumes: false });
  const astray = !stale && found?.State.Running === true && !(await sameNamespace(found, holder));
  if (astray) await stop(id, container, STOP_SECONDS);
  await start(id, container);
  const started = { container, id, ...(made && { volumes: made.volumes }) };
  if (replaced !== undefined) {
    const warning = `container "${container}" was recreated, with its volumes: somebody removed "${holderName(name)}"`;
    return { ...started, warning };
  }
  if (!astray) return started;
  return { ...started, warning: `container "${container}" was restarted, because "${holderName(name)}" was` };
}

/**
 * What the container of a run does.
 *
 * @param container its name
 * @returns undefined when there is none, or another container has its name
 * @throws EngineDown, or the engine's own error
 */
export async function ownState(
  name: string,
  link: string,
  container = containerName(name),
): Promise<ContainerState | undefined> {
  const found = await findOwn(container, { name, link, role: 'container' });
  return found && asState(found);
}

/**
 * Stops the container of a run, if there is one and it runs.
 *
 * @param container its name
 * @param seconds until SIGKILL, 10 by default
 * @throws ForeignContainer, EngineDown, or the engine's own error
 */
export async function stopContainer(
  name: string,
  container = containerName(name),
  seconds = STOP_SECONDS,
): Promise<void> {
  const found = await inspectOwn(container, { name, role: 'container' });
  if (found !== undefined) await stop(found.Id, container, seconds);
}

async function make(
  owner: Required<Ownership>,
  request: RunRequest,
  holder: string,
  replaced?: ContainerInspectInfo,
): Promise<{ id: string; volumes: GivenVolume[] }> {
  const { container, envFiles, image, platform } = request;
  const fromFiles = await readEnvFiles(envFiles);
  const volumes = await giveVolumes(owner, request, replaced);
  const names = new Map(volumes.map(({ name, path }) => [path, name]));
  const options = {
    ...container,
    Image: image,
    Env: [...fromFiles, ...(container.Env ?? [])],
    HostConfig: {
      ...container.HostConfig,
      Mounts: withVolumes(container.HostConfig?.Mounts ?? [], names),
      NetworkMode: `container:${holder}`,
      ...(replaced !== undefined && { VolumesFrom: [replaced.Id] }),
    },
  };
  const dockerName = containerName(owner.name, request);
  return { id: await createOwn({ dockerName, owner, options, platform }), volumes };
}

/** The volumes of its own for a container. Where the one that it replaces has a volume by another name, that one stays. */
async function giveVolumes(
  { name, link }: Required<Ownership>,
  request: RunRequest,
  replaced?: ContainerInspectInfo,
): Promise<GivenVolume[]> {
  const former = new Map(
    replaced?.Mounts.flatMap(({ Type, Name, Destination }) =>
      (Type as string) === 'volume' && Name !== undefined ? [[cleanPath(Destination), Name] as const] : [],
    ),
  );
  const volumes: GivenVolume[] = [];
  for (const path of anonymousVolumes(request, await declaredVolumes(request.image))) {
    const has = former.get(path);
    if (has === undefined || has === volumeName(name, path))
      volumes.push(await ensureVolume({ link, run: name, path }));
  }
  return volumes;
}

async function setAside(found: ContainerInspectInfo, container: string, owner: Ownership): Promise<void> {
  await stop(found.Id, container, STOP_SECONDS);
  // One that is still there was replaced by this one, which has its volumes.
  const older = await inspectOwn(replacedName(owner.name), owner);
  if (older !== undefined) await removeContainer(older.Id, { volumes: false });
  await rename(found.Id, replacedName(owner.name));
}

async function sameNamespace(one: ContainerInspectInfo, other: ContainerInspectInfo): Promise<boolean> {
  const [mine, theirs] = await Promise.all([one, other].map(({ State }) => networkOf(State.Pid)));
  return mine !== undefined && mine === theirs;
}

async function networkOf(pid: number): Promise<string | undefined> {
  return readlink(`/proc/${pid}/ns/net`).catch(() => undefined);
}
