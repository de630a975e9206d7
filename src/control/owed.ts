import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { removePartAt } from './api/client.js';
import { Failure } from './api/failure.js';
import { machineCalled } from './far.js';
import { readLinks } from './links.js';
import { tryLock } from './lock.js';
import { unfinishedIds } from './unfinished.js';

/**
 * Where it is written what other machines have of links that are no more, one file for each part. A part has no unit on
 * this machine, so this is the only state that is not in one. It is kept until the other machine has been told.
 */
const DIR = '/var/lib/wormhole/owed';

/** The file of a debt before it has its name. */
const TEMPORARY = /^\..*\.new$/;

/** A request that was lost on the way may still arrive, as long as TCP goes on sending it (tcp_orphan_retries, tcp(7)), ms. */
export const STRAY_MS = 120_000;

/**
 * What a machine has to be told: that it may remove its part of a link. `id` and `recipe` are those of the link, for
 * people. Until `until`, ms since the epoch, the part may yet come into being.
 */
export interface Debt {
  key: string;
  peer: string;
  keyFile: string;
  id: string;
  recipe: string;
  until: number;
}

/** A debt that this process has written down. Nobody else pays it until it is `released`, or this process has ended. */
export interface OpenDebt {
  /** There is nothing to be told after all. */
  settle(): void;
  /** It is to be paid. @param until as {@link Debt} has it */
  release(until?: number): void;
}

/** Writes a debt down, so that it outlives this process and the machine's next boot. */
export function owe(debt: Debt): OpenDebt {
  mkdirSync(DIR, { recursive: true, mode: 0o700 });
  const fd = write(debt);
  return {
    settle() {
      rmSync(`${DIR}/${debt.key}`, { force: true });
      closeSync(fd);
    },
    release(until) {
      if (until !== undefined) closeSync(write({ ...debt, until }));
      closeSync(fd);
    },
  };
}

/** All debts, those of this moment's creates and deletes included. */
export function debts(): Debt[] {
  if (!existsSync(DIR)) return [];
  const keys = readdirSync(DIR).filter((name) => /^[0-9a-f]{32}$/.test(name));
  return keys.map(readDebt).filter((debt) => debt !== undefined);
}

/** The debts that wait to be paid: not those that a running command is about. What a killed one was writing is removed. */
export function openDebts(): Debt[] {
  if (!existsSync(DIR)) return [];
  for (const name of readdirSync(DIR))
    if (TEMPORARY.test(name) && isFree(name)) rmSync(`${DIR}/${name}`, { force: true });
  return debts().filter(({ key }) => isFree(key));
}

/**
 * Tells the machine that it may remove its part.
 *
 * @returns undefined when it is removed, and the debt with it; else the reason why it could not be told, for people
 */
export async function pay(debt: Debt): Promise<string | undefined> {
  if (!isAlive(debt)) {
    try {
      await removePartAt(machineCalled(debt.peer, debt.keyFile), debt.key);
    } catch (error) {
      if (!(error instanceof Failure && error.code === 'not-found')) return (error as Error).message;
      if (Date.now() < debt.until)
        return `machine ${debt.peer} may yet get a request that was lost on the way`;
    }
  }
  rmSync(`${DIR}/${debt.key}`, { force: true });
  return undefined;
}

/** A create that was killed when all but the debt was done has left a link that is well. */
function isAlive({ key }: Debt): boolean {
  const unfinished = new Set(unfinishedIds());
  return readLinks().links.some(
    ({ id, root, far }) => id === root && far?.key === key && !unfinished.has(id),
  );
}

/** Writes and locks the file of a debt before it gets its name. */
function write(debt: Debt): number {
  const temporary = `${DIR}/.${debt.key}.${process.pid}.new`;
  const fd = openSync(temporary, 'w', 0o600);
  tryLock(fd);
  writeSync(fd, JSON.stringify(debt));
  fsyncSync(fd);
  renameSync(temporary, `${DIR}/${debt.key}`);
  const directory = openSync(DIR, 'r');
  fsyncSync(directory);
  closeSync(directory);
  return fd;
}

function readDebt(key: string): Debt | undefined {
  try {
    return JSON.parse(readFileSync(`${DIR}/${key}`, 'utf8'));
  } catch (error) {
    // It has just been paid.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Says whether a file is there, and nobody holds it. */
function isFree(name: string): boolean {
  let fd: number;
  try {
    fd = openSync(`${DIR}/${name}`, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  const free = tryLock(fd);
  closeSync(fd);
  return free;
}
