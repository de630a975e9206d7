import { readdirSync, rmSync } from 'node:fs';
import { uptime } from 'node:os';
import * as v from 'valibot';
import { isLocked, type LockName, RUN_DIR } from '../state/lock.js';
import { makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import { type Tunnel, upFile } from '../units/tunnel.js';

/*
 * The state of negotiations with other machines, which may ask each other at the same time. It is changed only with the lock
 * `tunnels` held, so that a machine is either the initiator or the responder.
 */

/** Where that state is, one file for each thing. */
export const NEGOTIATION_DIR = `${RUN_DIR}/tunnels`;

/** How long an initiator may take to confirm that the tunnel is up on its side, seconds. */
const CONFIRM_TIMEOUT = 60;

const pair = v.object({ local: v.string(), remote: v.string() });
const answerSchema = v.object({
  since: v.number(),
  spi: v.number(),
  tunnel: v.object({
    id: v.string(),
    peer: v.string(),
    machine: v.string(),
    outer: pair,
    inner: pair,
    mode: v.picklist(['esp', 'udp']),
    asked: v.boolean(),
    keyFile: v.string(),
  }),
});

/**
 * An answer to an initiator that has not confirmed yet that its side is up. `spi` is of the security association by which this machine
 * receives; `since` is in seconds since the boot.
 */
export type Answer = v.InferOutput<typeof answerSchema>;

/** The lock that a process holds which negotiates a tunnel with a machine. */
export function initiatorLock(machine: string): LockName {
  return `asking-${machine}`;
}

/** Records that this machine is the initiator of a tunnel with another one, until {@link endInitiating}, or until it is killed. */
export function beginInitiating({ machine, id }: Tunnel): void {
  write(initiatingFile(machine), id);
}

/** Records that this machine is no initiator towards that one any more. */
export function endInitiating(machine: string): void {
  rmSync(initiatingFile(machine), { force: true });
}

/** Whether this machine is the initiator towards that one; the record of a killed process does not count. */
export function isInitiatingTo(machine: string): boolean {
  return readIfExists(initiatingFile(machine)) !== undefined && isLocked(initiatorLock(machine));
}

/** The ids of the tunnels of which this machine is the initiator. They may have no unit yet. */
export function initiatedTunnels(): string[] {
  return initiations()
    .filter(isInitiatingTo)
    .flatMap((machine) => readIfExists(initiatingFile(machine)) ?? []);
}

/** The machines towards which killed processes were the initiators. */
export function interruptedInitiations(): string[] {
  return initiations().filter((machine) => !isInitiatingTo(machine));
}

function initiations(): string[] {
  return fileNames().flatMap((name) => /^initiating-([0-9a-f]{32})$/.exec(name)?.[1] ?? []);
}

function initiatingFile(machine: string): string {
  return `${NEGOTIATION_DIR}/initiating-${machine}`;
}

/** Records that an initiator has been answered: the tunnel that it is going to have, and the SPI by which this machine receives. */
export function recordAnswer(tunnel: Tunnel, spi: number): void {
  write(answerFile(tunnel.machine), JSON.stringify({ tunnel, spi, since: uptime() } satisfies Answer));
}

/** The answer that an initiator has yet to confirm; undefined when there is none, or it is older than a minute. */
export function answerTo(machine: string): Answer | undefined {
  const text = readIfExists(answerFile(machine));
  // That of an earlier version may lack something.
  const answer = text === undefined ? undefined : v.safeParse(answerSchema, JSON.parse(text));
  return answer?.success && uptime() - answer.output.since < CONFIRM_TIMEOUT ? answer.output : undefined;
}

/** Forgets that an initiator has been answered. */
export function forgetAnswer(machine: string): void {
  rmSync(answerFile(machine), { force: true });
}

/** All answers that are not confirmed yet; those that are too old are forgotten. */
export function openAnswers(): Answer[] {
  const machines = fileNames().flatMap((name) => /^answer-([0-9a-f]{32})$/.exec(name)?.[1] ?? []);
  return machines.flatMap((machine) => {
    const answer = answerTo(machine);
    if (!answer) forgetAnswer(machine);
    return answer ?? [];
  });
}

/** Tells the unit of a tunnel, which is about to be started, that the tunnel is up. */
export function recordUp(tunnel: Tunnel): void {
  write(upFile(tunnel), '');
}

/** Undoes {@link recordUp}, if the unit has not read it. */
export function forgetUp(tunnel: Tunnel): void {
  rmSync(upFile(tunnel), { force: true });
}

/** Undoes {@link recordUp} for all tunnels: a unit that starts meanwhile finds out by itself. */
export function forgetAllUp(): void {
  for (const name of fileNames())
    if (name.startsWith('up-')) rmSync(`${NEGOTIATION_DIR}/${name}`, { force: true });
}

function fileNames(): string[] {
  makeDirectory(NEGOTIATION_DIR);
  return readdirSync(NEGOTIATION_DIR);
}

function answerFile(machine: string): string {
  return `${NEGOTIATION_DIR}/answer-${machine}`;
}

function write(file: string, text: string): void {
  makeDirectory(NEGOTIATION_DIR);
  writeAtomically(file, text);
}
