import { rmSync } from 'node:fs';
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

function fileOf({ id }: Tunnel): string {
  return `${RUN_DIR}/tunnels/problem-${id}`;
}
