import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { type Tunnel, upFile } from '../../units/tunnel.js';
import { isLocked, RUN_DIR } from '../lock.js';

/*
 * What two machines that may ask each other at the same time have to know of themselves. All of it is changed with the
 * lock `tunnels` held, so that a machine either asks another or answers it.
 */

const DIRECTORY = `${RUN_DIR}/tunnels`;
const ASKING = `${DIRECTORY}/asking`;

/** How long whoever has been answered may take to say that the tunnel is up on his side, seconds. */
const PATIENCE = 60;

/** An answer to a machine that has not said yet that its side is up. `since` is in seconds since the boot. */
export interface Answered {
  tunnel: Tunnel;
  since: number;
}

/** Notes that this machine is asking another one, from now on until {@link doneAsking}, or until it is killed. */
export function nowAsking(machine: string): void {
  write(ASKING, machine);
}

/** Notes that this machine asks nobody any more. */
export function doneAsking(): void {
  rmSync(ASKING, { force: true });
}

/** Whether this machine is asking that one; a note that a killed process has left does not count. */
export function isAsking(machine: string): boolean {
  return isLocked('asking') && read(ASKING) === machine;
}

/** The machine that a process was asking when it was killed; undefined when there is none. Only with the lock `tunnels` held. */
export function interruptedWith(): string | undefined {
  return isLocked('asking') ? undefined : read(ASKING);
}

/** Notes that a machine has been answered, and what it is going to have. */
export function nowAnswered(tunnel: Tunnel): void {
  write(fileOf(tunnel.machine), JSON.stringify({ tunnel, since: uptime() } satisfies Answered));
}

/** The answer that a machine is to say yes to; undefined when there is none, or it has waited for longer than a minute. */
export function answeredTo(machine: string): Answered | undefined {
  const text = read(fileOf(machine));
  const answered = text === undefined ? undefined : (JSON.parse(text) as Answered);
  return answered && uptime() - answered.since < PATIENCE ? answered : undefined;
}

/** Forgets that a machine has been answered. */
export function forgetAnswer(machine: string): void {
  rmSync(fileOf(machine), { force: true });
}

/** All answers that are waited for, those that have waited for too long left out, and forgotten. */
export function openAnswers(): Answered[] {
  const machines = notes().flatMap((name) => /^answered-([0-9a-f]{16})$/.exec(name)?.[1] ?? []);
  return machines.flatMap((machine) => {
    const answered = answeredTo(machine);
    if (!answered) forgetAnswer(machine);
    return answered ?? [];
  });
}

/** Notes for a tunnel's unit, which is about to be started, that the tunnel is up. */
export function nowUp(tunnel: Tunnel): void {
  write(upFile(tunnel), '');
}

/** Takes the note of {@link nowUp} back, if the unit has not. */
export function forgetUp(tunnel: Tunnel): void {
  rmSync(upFile(tunnel), { force: true });
}

/** Takes all notes of {@link nowUp} back: a unit that is being started for one finds out by itself. */
export function forgetUps(): void {
  for (const name of notes()) if (name.startsWith('up-')) rmSync(`${DIRECTORY}/${name}`, { force: true });
}

function notes(): string[] {
  mkdirSync(DIRECTORY, { recursive: true, mode: 0o755 });
  return readdirSync(DIRECTORY);
}

function fileOf(machine: string): string {
  return `${DIRECTORY}/answered-${machine}`;
}

function write(file: string, text: string): void {
  mkdirSync(DIRECTORY, { recursive: true, mode: 0o755 });
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
