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
import type { Systemd } from '../systemd/systemd.js';
import type { Tunnel } from '../units/tunnel.js';
import { tryLock } from './lock.js';

/**
 * Where it is written what other machines have of links and tunnels that are no more, one file for each. These have no
 * unit on this machine, so this is the only state that is not in one. It is kept until the other machine has been told.
 */
const DIR = '/var/lib/wormhole/owed';

/** The file of a debt before it has its name. */
const TEMPORARY = /^\..*\.new$/;

/** A request that was lost on the way may still arrive, as long as TCP goes on sending it (tcp_orphan_retries, tcp(7)), ms. */
export const STRAY_MS = 120_000;

/**
 * What a machine has to be told: that it may remove its part of a link, or its side of a tunnel. `key` is what it knows
 * that by: 32 hexadecimal digits for a part, the 16 of the id for a tunnel. Until `until`, ms since the epoch, it may yet
 * come into being.
 */
export type Debt = PartDebt | TunnelDebt;

interface AnyDebt {
  key: string;
  peer: string;
  keyFile: string;
  until: number;
}

/** `id` and `recipe` are those of the link, for people. */
export interface PartDebt extends AnyDebt {
  id: string;
  recipe: string;
}

/** The tunnel as it was on this machine. */
export interface TunnelDebt extends AnyDebt {
  tunnel: Tunnel;
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
  const keys = readdirSync(DIR).filter((name) => /^([0-9a-f]{16}){1,2}$/.test(name));
  return keys.map(readDebt).filter((debt) => debt !== undefined);
}

/** The debts that wait to be paid: not those that a running command is about. What a killed one was writing is removed. */
export function openDebts(): Debt[] {
  if (!existsSync(DIR)) return [];
  for (const name of readdirSync(DIR))
    if (TEMPORARY.test(name) && isFree(name)) rmSync(`${DIR}/${name}`, { force: true });
  return debts().filter(({ key }) => isFree(key));
}

/** Whether a debt is about a tunnel, not about a part of a link. */
export function isTunnels(debt: Debt): debt is TunnelDebt {
  return 'tunnel' in debt;
}

/** Has wormhole-far.service pay what a command has left owing, also one that was killed. @throws JobError */
export async function remindOfDebts(systemd: Systemd): Promise<void> {
  if (openDebts().length > 0) await systemd.start('wormhole-far.service');
}

/** Forgets a debt that is paid. */
export function cross({ key }: Debt): void {
  rmSync(`${DIR}/${key}`, { force: true });
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
