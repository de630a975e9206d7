import { existsSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import * as v from 'valibot';
import { ENGINE_SOCKETS, engineKind } from './which-engine.js';

/** What the engine answers about containers. */
const containers = v.array(v.object({ Names: v.optional(v.array(v.string()), []) }));

/**
 * The names of all containers, for someone who is typing one: [] when Docker does not run here, does not answer within `timeout`
 * ms, or does not answer this user. Connecting to its socket would start it, so it is looked for first.
 */
export function containerNames(timeout: number): Promise<string[]> {
  if (!isRunning()) return Promise.resolve([]);
  return new Promise((resolve) => {
    const call = request(
      { socketPath: ENGINE_SOCKETS[engineKind()], path: '/containers/json?all=1' },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', () => resolve([]));
        response.on('end', () => resolve(namesIn(Buffer.concat(chunks).toString())));
      },
    );
    call.on('error', () => resolve([]));
    setTimeout(() => {
      call.destroy();
      resolve([]);
    }, timeout).unref();
    call.end();
  });
}

function isRunning(): boolean {
  try {
    // Nothing of Podman's runs, and its socket starts what answers.
    if (engineKind() === 'podman') return existsSync(ENGINE_SOCKETS.podman);
    const pid = readFileSync('/run/docker.pid', 'utf8').trim();
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'dockerd';
  } catch {
    return false;
  }
}

function namesIn(text: string): string[] {
  const read = v.safeParse(containers, parse(text));
  if (!read.success) return [];
  // A container has more names than its own if others have --link to it.
  return read.output.flatMap(({ Names }) =>
    Names.filter((name) => /^\/[^/]+$/.test(name)).map((name) => name.slice(1)),
  );
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
