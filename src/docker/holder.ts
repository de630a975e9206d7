import type { ContainerCreateOptions } from 'dockerode';
import type { RunRequest } from '../docker-run/request.js';
import { asContainer, type Container } from './container.js';
import { NoSuchContainer } from './engine.js';
import { requireNetwork } from './network.js';
import { createOwn, inspectOwn, type Ownership, start, stop } from './own-container.js';
import { ensurePauseImage } from './pause-image.js';
import { containerName, holderName } from './runs.js';

/** How long a holder may take to end at SIGTERM, in seconds. It ends at once, unless the machine is overloaded. */
export const HOLDER_STOP_SECONDS = 10;

/**
 * Makes sure that the holder of a run is there and runs, and with it the network namespace of the run.
 *
 * @returns the id of its process, whose network namespace it is
 * @throws ForeignContainer, EngineDown, or the engine's own error, such as of a port that is taken
 */
export async function startHolder(name: string, link: string, request: RunRequest): Promise<number> {
  const holder = holderName(name);
  const owner = { name, link, role: 'netns' } as const;
  const id = (await inspectOwn(holder, owner))?.Id ?? (await make(owner, request));
  await start(id, holder);
  const pid = (await inspectOwn(holder, owner))?.State.Pid ?? 0;
  if (pid === 0) throw new Error(`container "${holder}" ended as soon as it was started`);
  return pid;
}

/**
 * The holder of a run.
 *
 * @throws NoSuchContainer when there is none; as startHolder
 */
export async function findHolder(name: string): Promise<Container> {
  const found = await inspectOwn(holderName(name), { name, role: 'netns' });
  if (found === undefined) throw new NoSuchContainer(holderName(name));
  return asContainer(found);
}

/** Stops the holder of a run, if there is one, and with it its network namespace. @throws as startHolder */
export async function stopHolder(name: string): Promise<void> {
  const holder = holderName(name);
  const found = await inspectOwn(holder, { name, role: 'netns' });
  if (found !== undefined) await stop(found.Id, holder, HOLDER_STOP_SECONDS);
}

async function make(owner: Required<Ownership>, request: RunRequest): Promise<string> {
  const { holder } = request;
  const options: ContainerCreateOptions = {
    ...holder,
    Image: await ensurePauseImage(),
    HostConfig: {
      ...holder.HostConfig,
      // It needs nothing but to be there.
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      ReadonlyRootfs: true,
      LogConfig: { Type: 'none', Config: {} },
    },
  };
  const network = holder.HostConfig?.NetworkMode;
  // In networks of one's own, containers find each other by name; the holder's is nothing that anybody would look for.
  if (network !== undefined && !['default', 'bridge', 'host', 'none'].includes(network)) {
    await requireNetwork(network);
    options.NetworkingConfig = {
      EndpointsConfig: { [network]: { Aliases: [owner.name, containerName(owner.name, request)] } },
    };
  }
  return createOwn({ dockerName: holderName(owner.name), owner, options });
}
