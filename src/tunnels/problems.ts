import { existsSync, readdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { RUN_DIR } from '../state/lock.js';
import { makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import type { Tunnel } from '../units/tunnel.js';

/** Records why the last attempt to bring a tunnel up, to check it or to rekey it has failed, until the next one, for tunnel-list. */
export function recordProblem(tunnel: Tunnel, reason: string): void {
  const file = fileOf(tunnel);
  makeDirectory(dirname(file));
  writeAtomically(file, reason);
}

/** The reason that was recorded last; undefined when the last attempt has succeeded. */
export function problemOf(tunnel: Tunnel): string | undefined {
  return readIfExists(fileOf(tunnel));
}

/** Forgets the reason: an attempt has succeeded, or the tunnel is deleted. */
export function forgetProblem(tunnel: Tunnel): void {
  rmSync(fileOf(tunnel), { force: true });
}

/** Forgets the reasons of tunnels that are not among these: the command that deleted them was killed before it did. */
export function forgetOtherProblems(tunnels: Tunnel[]): void {
  const known = new Set(tunnels.map(({ id }) => `${PREFIX}${id}`));
  for (const name of existsSync(DIRECTORY) ? readdirSync(DIRECTORY) : [])
    if (name.startsWith(PREFIX) && !known.has(name)) rmSync(`${DIRECTORY}/${name}`, { force: true });
}

const DIRECTORY = `${RUN_DIR}/tunnels`;
const PREFIX = 'problem-';

function fileOf({ id }: Tunnel): string {
  return `${DIRECTORY}/${PREFIX}${id}`;
}
