import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLocked, RUN_DIR } from '../../state/lock.js';
import { makeDirectory } from '../../system/files.js';

/** One empty file for each run whose containers a command is exchanging at this moment. */
const GATES_DIR = `${RUN_DIR}/gates`;

const POLL_MS = 50;

/** Keeps connections from starting the containers of a run, until {@link openGate}. Call it with the lock `links` held. */
export function closeGate(run: string): void {
  makeDirectory(GATES_DIR);
  writeFileSync(`${GATES_DIR}/${run}`, '');
}

/** Lets connections start the containers of a run again. */
export function openGate(run: string): void {
  rmSync(`${GATES_DIR}/${run}`, { force: true });
}

/** Waits while the containers of a run are exchanged. A command that was killed meanwhile holds up nothing. */
export async function passGate(run: string): Promise<void> {
  while (isGateClosed(run)) await sleep(POLL_MS);
}

/** Whether a command exchanges the containers of a run at this moment. */
export function isGateClosed(run: string): boolean {
  return existsSync(`${GATES_DIR}/${run}`) && isLocked('links');
}
