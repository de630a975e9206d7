import type { ContainerInfo } from 'dockerode';
import { engine, explain, statusOf } from './engine.js';

/** A container with what labels and networks say about it. */
export interface LabelledContainer {
  id: string;
  name: string;
  running: boolean;
  /** What was given as its network, such as `none`, `host` or `container:ID`. */
  network: string;
  /** The labels that it was given when it was made. */
  labels: Record<string, string>;
  /** The labels that it has with the values that its image has: they prove to be nobody's wish but the image's. */
  imageLabels: Record<string, string>;
  /** Whether its image is gone, so that nobody can tell which of `labels` the image brought. */
  imageMissing: boolean;
}

/**
 * All containers, with their labels that begin with one of the prefixes. Images are asked only about if one of the containers has a
 * label of the first prefix.
 *
 * @throws EngineDown, or the engine's own error
 */
export async function listLabelled([main = '', ...others]: string[]): Promise<LabelledContainer[]> {
  const all = (await listAll()).filter(({ State }) => !['removing', 'dead'].includes(State));
  const isWanted = (name: string) => [main, ...others].some((prefix) => name.startsWith(prefix));
  const needsImages = all.some(({ Labels }) =>
    Object.keys(Labels ?? {}).some((name) => name.startsWith(main)),
  );
  const images = new Map<string, Promise<Record<string, string> | undefined>>();
  return Promise.all(
    all.map(async (found) => {
      const entries = Object.entries(found.Labels ?? {}).filter(([name]) => isWanted(name));
      const wanted = needsImages && entries.length > 0;
      if (wanted && !images.has(found.ImageID)) images.set(found.ImageID, labelsOfImage(found.ImageID));
      const ofImage = wanted ? await images.get(found.ImageID) : {};
      const isImages = ([name, value]: [string, string]) =>
        ofImage !== undefined && Object.hasOwn(ofImage, name) && ofImage[name] === value;
      return {
        id: found.Id,
        name: nameOf(found),
        running: ['running', 'paused'].includes(found.State),
        network: networkOf(found),
        labels: Object.fromEntries(entries.filter((entry) => !isImages(entry))),
        imageLabels: Object.fromEntries(entries.filter(isImages)),
        imageMissing: ofImage === undefined,
      };
    }),
  );
}

/** @throws Error for an engine that does not tell, as Podman's: a container might be in the network of the host */
function networkOf({ HostConfig }: { HostConfig?: { NetworkMode?: string } }): string {
  if (HostConfig) return HostConfig.NetworkMode ?? '';
  throw new Error(
    'labels need the Docker engine: this one, which may be Podman, does not list the networks of its containers',
  );
}

/** The name without a slash; the other ones are those by which old `--link`s know it, such as `/web/db`. */
function nameOf({ Names, Id }: ContainerInfo): string {
  const own = Names.find((name) => /^\/[^/]+$/.test(name)) ?? `/${Id}`;
  return own.slice(1);
}

async function listAll(): Promise<ContainerInfo[]> {
  try {
    return await (await engine()).listContainers({ all: true });
  } catch (error) {
    throw explain(error, 'the containers cannot be listed');
  }
}

/** Undefined for an image that is gone. */
async function labelsOfImage(id: string): Promise<Record<string, string> | undefined> {
  try {
    const { Config } = await (await engine()).getImage(id).inspect();
    return Config?.Labels ?? {};
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw explain(error, `the Docker engine says of image "${id}"`);
  }
}
