import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { engine, explain, patientEngine } from './engine.js';
import { followed, hasImage } from './image.js';
import { type Architecture, pauseProgram } from './pause-program.js';

/** The image of holders. The number changes with what is in it, so that an engine never runs an older one. */
export const pauseImage = 'wormhole/pause:1';

/** How long loading some thousand bytes may take, in ms: an engine that is booting is slow. */
const LOAD_MS = 120_000;

/**
 * Makes sure that the engine has the image of holders: one program that does nothing, for the engine's architecture.
 *
 * It is loaded as `docker save` would have written it, not imported: then its id follows from what is in it, so two
 * that load it at once load the same, and it needs no registry.
 *
 * @returns the image's name
 * @throws EngineDown, Error when the engine's architecture is not amd64 or arm64, or the engine's own error
 */
export async function ensurePauseImage(): Promise<string> {
  if (await hasImage(pauseImage)) return pauseImage;
  try {
    const { Arch } = await (await engine()).version();
    if (Arch !== 'amd64' && Arch !== 'arm64') throw new Error(`its machine is ${Arch}, not amd64 or arm64`);
    const archive = Readable.from([await imageArchive(Arch)]);
    const options = { quiet: true, abortSignal: AbortSignal.timeout(LOAD_MS) };
    await followed(await (await patientEngine()).loadImage(archive, options), () => {});
  } catch (error) {
    throw explain(error, `the Docker engine cannot load ${pauseImage}`);
  }
  return pauseImage;
}

/** The image as an archive in the form of the Docker Image Specification v1.2. */
export async function imageArchive(architecture: Architecture): Promise<Buffer> {
  const layer = await archive([{ name: 'pause', mode: 0o555, content: pauseProgram(architecture) }]);
  const config = json({
    architecture,
    os: 'linux',
    created: '1970-01-01T00:00:00Z',
    // Process 1 of a namespace gets no signal that it has no handler for, but SIGKILL from outside.
    config: { Cmd: ['/pause'], User: '65534:65534', StopSignal: 'SIGKILL', WorkingDir: '/' },
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
