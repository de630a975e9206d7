import { type ImageNames, isImageOf } from '../docker-run/image-reference.js';
import type { PullPolicy } from '../docker-run/request.js';
import { engine, engineWithoutTimeout, explain, isAmbiguous, statusOf } from './engine.js';
import { type PullEvent, type PullProgress, pullMeter } from './pull-progress.js';
import { engineKind } from './which-engine.js';

/** An image is missing and cannot be pulled. `message` is one line for people. */
export class NoImage extends Error {}

/** An image as the engine describes it; dockerode's types lack the variant. */
interface FoundImage extends ImageNames {
  Os: string;
  Architecture: string;
  Variant?: string | undefined;
}

/** Takes the progress of a pull, whenever it has changed. */
export type OnProgress = (progress: PullProgress) => void;

/**
 * Whether the engine has an image, for the given platform if there is one. The image is meant by its name or its whole id.
 *
 * @throws EngineDown, or the engine's own error
 */
export async function hasImage(image: string, platform?: string): Promise<boolean> {
  return (await lookUp(image, platform)) === 'present';
}

/** `other`: there is no such image, and the engine takes its name for the beginning of another one's id. */
async function lookUp(image: string, platform?: string): Promise<'present' | 'missing' | 'other'> {
  const [os, architecture, variant] = platform?.split('/') ?? [];
  try {
    // Engines from API 1.49 on may have an image for several platforms, and look for this one; others ignore it.
    const query = platform === undefined ? {} : { platform: JSON.stringify({ os, architecture, variant }) };
    const found: FoundImage = await (await engine()).getImage(image).inspect(query as object);
    if (!isImageOf(image, found) && !isLocalImage(image, found)) return 'other';
    if (platform === undefined) return 'present';
    const sameVariant = !variant || !found.Variant || variant === found.Variant;
    return found.Os === os && found.Architecture === architecture && sameVariant ? 'present' : 'missing';
  } catch (error) {
    if (statusOf(error) === 404) return 'missing';
    if (isAmbiguous(error)) return 'other';
    throw explain(error, `the Docker engine says of image "${image}"`);
  }
}

/** Whether an image of this machine is meant by a name without a registry: Podman calls those `localhost/NAME`. */
function isLocalImage(image: string, found: FoundImage): boolean {
  return engineKind() === 'podman' && isImageOf(`localhost/${image}`, found);
}

/** The paths that an image declares with VOLUME; none of an image that is missing. @throws EngineDown, or the engine's own error */
export async function declaredVolumes(image: string): Promise<string[]> {
  try {
    const { Config } = await (await engine()).getImage(image).inspect();
    return Object.keys(Config?.Volumes ?? {});
  } catch (error) {
    if (statusOf(error) === 404) return [];
    throw explain(error, `the Docker engine says of image "${image}"`);
  }
}

/**
 * Pulls an image, `latest` when there is no tag, for `platform`, by default the engine's. A pull may take as long as it
 * needs, silences included.
 *
 * @throws NoImage when there is no such image, or its registry does not answer; EngineDown
 */
export async function pullImage(
  image: string,
  platform?: string,
  onProgress: OnProgress = () => {},
): Promise<void> {
  const meter = pullMeter(image);
  let text = '';
  const onEvent = (event: PullEvent) => {
    const progress = meter(event);
    if (progress.text !== text) onProgress(progress);
    text = progress.text;
  };
  try {
    const engine = await engineWithoutTimeout();
    await followed(await engine.pull(image, platform === undefined ? {} : { platform }), onEvent);
  } catch (error) {
    throw explainPull(error, image);
  }
  if (await hasImage(image, platform)) return;
  const other = platform !== undefined && (await hasImage(image));
  // An engine that is stopped just ends its answer.
  const why = other ? `it is not made for ${platform}` : 'the engine gave up';
  throw new NoImage(`image "${image}" cannot be pulled: ${why}`);
}

/** An image that is needed, for `platform`, by default the engine's. */
export interface ImageRequest {
  image: string;
  policy: PullPolicy;
  platform?: string | undefined;
  onProgress?: OnProgress;
}

/**
 * Makes sure that the engine has an image, as far as the policy allows: `always` pulls in any case, `missing` when the
 * engine lacks it, `never` does not pull.
 *
 * @throws NoImage, EngineDown, or the engine's own error
 */
export async function ensureImage({ image, policy, platform, onProgress }: ImageRequest): Promise<void> {
  const found = await lookUp(image, platform);
  if (found === 'present' && policy !== 'always') return;
  // Such as one that was typed as docker images prints it.
  const hint =
    found === 'other'
      ? '; to run an image whose id begins so, write its whole id: docker images --no-trunc'
      : '';
  if (policy === 'never') {
    const which = platform === undefined ? '' : ` for ${platform}`;
    throw new NoImage(
      `image "${image}"${which} is missing, and --pull never forbids to pull it: docker pull ${image}${hint}`,
    );
  }
  try {
    await pullImage(image, platform, onProgress);
  } catch (error) {
    if (!(error instanceof NoImage) || hint === '') throw error;
    throw new NoImage(`${error.message}${hint}`);
  }
}

/** Reads an answer of the engine's, one JSON object a line, to its end. @throws what the engine says went wrong */
export async function followed(
  stream: NodeJS.ReadableStream,
  onEvent: (event: PullEvent) => void,
): Promise<void> {
  const { modem } = await engineWithoutTimeout();
  return new Promise((resolve, reject) => {
    let failure: Error | undefined;
    modem.followProgress(
      stream,
      (error) => (error || failure ? reject(error ?? failure) : resolve()),
      (event: PullEvent & { error?: string }) => {
        if (event.error !== undefined) failure ??= Object.assign(new Error(event.error), { statusCode: 500 });
        else onEvent(event);
      },
    );
  });
}

function explainPull(error: unknown, image: string): Error {
  const explained = explain(error, `image "${image}" cannot be pulled`);
  if (statusOf(error) === undefined) return explained;
  const { message } = explained;
  if (/denied|unauthorized|no basic auth/i.test(message))
    return new NoImage(`${message} (if it is private: docker login, docker pull ${image})`);
  if (/dial |timeout|deadline exceeded|TLS|EOF|connection re/i.test(message))
    return new NoImage(`${message} (its registry is unreachable)`);
  return new NoImage(message);
}
