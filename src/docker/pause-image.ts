import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { engine, engineWithoutTimeout, explain, statusOf } from './engine.js';
import { followed } from './image.js';
import { type Architecture, pauseProgram } from './pause-program.js';

/** The image of holders. The number changes with what is in it, so that an engine never runs an older one. */
export const pauseImage = 'wormhole/pause:2';

/**
 * What its images are by their content: the ids that engines give them, and the ids of their only layers, from which engines
 * with containerd's image store can tell them. Those of earlier numbers stay here while their holders may exist.
 */
export const pauseImages = [
  {
    id: 'sha256:f90e952a3a26dee460458cf1aeb82f188e3a17615be13893c753e7c77638dec4',
    layer: 'sha256:ad9836f1814809dc059904e631c958ecf8d7c989d25d3dfba2cacd335c6d5fd9',
  },
  {
    id: 'sha256:3dbc5d5e7514285ac916eb7097391c22a73b33218367b6de59957278f5f18ac8',
    layer: 'sha256:9822a8dee1f4be045260ff4db38ef41812bca746e0d5d9346bbe7d87573877f9',
  },
  {
    id: 'sha256:f8a56ee5cec498142fdef5da64df7defc7eb0ef3cfef98145da42263c7f67bc8',
    layer: 'sha256:bfeb6eeea75901b72ddfc5e1d383a0d5c454c4f6f1feff8496538150d11c61e2',
  },
  {
    id: 'sha256:dcdf333525048ecc9308639053207ca819461bca6b7961b165bb7271fa3e66ee',
    layer: 'sha256:5d7b6cbd72db8dcc2969541ef0b1bc55b42fb2f97c357ac05de086dc83983b7a',
  },
];

/** How long loading some thousand bytes may take, in ms: an engine that is booting is slow. */
const LOAD_MS = 120_000;

/**
 * Makes sure that the engine has the image of holders: one program that does nothing, for the engine's architecture.
 *
 * It is loaded as `docker save` would have written it, not imported: then its id follows from what is in it, so two
 * that load it at once load the same, and it needs no registry.
 *
 * Another image that has its name loses it.
 *
 * @returns the image's name
 * @throws EngineDown, Error when the engine's architecture is not amd64 or arm64, or the engine's own error
 */
export async function ensurePauseImage(): Promise<string> {
  if (await isPauseImage(pauseImage)) return pauseImage;
  try {
    const { Arch } = await (await engine()).version();
    if (Arch !== 'amd64' && Arch !== 'arm64') throw new Error(`its machine is ${Arch}, not amd64 or arm64`);
    const archive = Readable.from([await imageArchive(Arch)]);
    const options = { quiet: true, abortSignal: AbortSignal.timeout(LOAD_MS) };
    await followed(await (await engineWithoutTimeout()).loadImage(archive, options), () => {});
  } catch (error) {
    throw explain(error, `the Docker engine cannot load ${pauseImage}`);
  }
  if (await isPauseImage(pauseImage)) return pauseImage;
  throw new Error(`the Docker engine has loaded ${pauseImage}, and has another image of that name`);
}

/**
 * Whether an image is one of holders.
 *
 * @param reference its id, or {@link pauseImage}
 * @throws EngineDown, or the engine's own error
 */
export async function isPauseImage(reference: string): Promise<boolean> {
  if (pauseImages.some(({ id }) => id === reference)) return true;
  try {
    const { Id, RootFS } = await (await engine()).getImage(reference).inspect();
    const layers = RootFS.Layers ?? [];
    return pauseImages.some(({ id, layer }) => Id === id || (layers.length === 1 && layers[0] === layer));
  } catch (error) {
    if (statusOf(error) === 404) return false;
    throw explain(error, `the Docker engine says of image "${reference}"`);
  }
}

/** The image as an archive in the form of the Docker Image Specification v1.2. */
export async function imageArchive(architecture: Architecture): Promise<Buffer> {
  const layer = await archive([{ name: 'pause', mode: 0o555, content: pauseProgram(architecture) }]);
  const config = json({
    architecture,
    os: 'linux',
    created: '1970-01-01T00:00:00Z',
    config: { Cmd: ['/pause'], User: '65534:65534', StopSignal: 'SIGTERM', WorkingDir: '/' },
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(layer)}`] },
    history: [{ created: '1970-01-01T00:00:00Z', comment: 'wormhole' }],
  });
  const configName = `${sha256(config)}.json`;
  return archive([
    { name: 'layer.tar', mode: 0o444, content: layer },
    { name: configName, mode: 0o444, content: config },
    {
      name: 'manifest.json',
      mode: 0o444,
      content: json([{ Config: configName, RepoTags: [pauseImage], Layers: ['layer.tar'] }]),
    },
  ]);
}

interface Entry {
  name: string;
  mode: number;
  content: Buffer;
}

async function archive(entries: Entry[]): Promise<Buffer> {
  const { default: tarStream } = await import('tar-stream');
  const tar = tarStream.pack();
  for (const { name, mode, content } of entries) tar.entry({ name, mode, mtime: new Date(0) }, content);
  tar.finalize();
  return buffer(tar);
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function sha256(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}
