import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { lastLog } from '../../docker/container-log.js';
import { EngineDown } from '../../docker/engine.js';
import { ensureImage } from '../../docker/image.js';
import { waitUntilReady, whyBroken } from '../../docker/ready.js';
import { ownState, startContainer, stopContainer } from '../../docker/run-container.js';
import { startExisting, stopExisting } from '../../docker/user-container.js';
import type { RunRequest } from '../../docker-run/request.js';
import { makeDirectory, readIfExists, writeAtomically } from '../../system/files.js';
import { withSystemd } from '../../systemd/systemd.js';
import { givenUpFile, netnsInstance } from '../../units/names.js';
import { isEmptyNamespace } from './empty-namespace.js';
import { passGate } from './gates.js';
import { type JournalLines, noteContainer } from './kept-container.js';
import { remountNamespace } from './netns.js';
import { requireEngine } from './require-engine.js';
import { containerOf, findRun, type LinkRun } from './runs.js';

/** A container that ended this soon after its start never worked: starting it again at once would only repeat that. */
const SHORT_LIFE_MS = 10_000;

/** The pause after the first failure; each further failure doubles it. */
const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 30_000;

/** What the file of {@link givenUpFile} holds: the failures in a row, and the time of the last, in ms since the epoch. */
const failuresSchema = v.object({ count: v.number(), last: v.number() });
type Failures = v.InferOutput<typeof failuresSchema>;

/** Where the progress of a start is reported. */
export interface StartReporter extends JournalLines {
  /** Takes what is being done at this moment. */
  showStatus(status: string): void;
}

/**
 * Starts the container of a run, and waits until it is healthy if it has a health check, for wormhole-NAME-run.service.
 *
 * After a failure the next call waits first: 1 s, and twice as long after each further one, up to 30 s.
 *
 * @param name the run, as in the unit's name
 * @param died whether the container was running and has ended by itself
 * @throws Error with the container's last words when it does not start; waiting clients are then closed
 */
export async function startRun(name: string, died: boolean, reporter: StartReporter): Promise<void> {
  await passGate(name);
  const run = requireRun(name);
  const failures = readFailures(name);
  const pause = failures && failures.last + pauseAfter(failures.count) - Date.now();
  if (pause !== undefined && pause > 0) {
    reporter.showStatus(`failed ${failures?.count} times; tries again in ${Math.ceil(pause / 1000)} s`);
    await sleep(pause);
  }
  try {
    await requireEngine();
    await (run.place.kind === 'run'
      ? startOwn(run, { request: run.place.request, died, reporter })
      : startUsers(run, run.place.name, reporter));
    rmSync(givenUpFile(name), { force: true });
  } catch (error) {
    const count = (failures?.count ?? 0) + 1;
    writeFailures(name, { count, last: Date.now() });
    const next = `Waiting clients are closed; the next connection tries again, at the earliest in ${pauseAfter(count) / 1000} s.`;
    throw new Error(`link ${run.link.id}: ${(error as Error).message.replace(/[.\s]*$/, '')}. ${next}`);
  }
}

/** Stops the container of a run, and keeps it with all that it has written. @throws Error when the engine cannot */
export async function stopRun(name: string): Promise<void> {
  try {
    await requireEngine();
  } catch (error) {
    // An engine that stops has stopped its containers.
    if (error instanceof EngineDown) return;
    throw error;
  }
  const run = requireRun(name);
  if (run.place.kind === 'container') await stopExisting(run.place.name);
  else await stopContainer(name, containerOf(run));
}

function requireRun(name: string): LinkRun {
  const run = findRun(name);
  if (!run) throw new Error(`no link runs a container with the name "${name}"`);
  return run;
}

/** How a container of the link's own is started. */
interface OwnStart {
  request: RunRequest;
  died: boolean;
  reporter: StartReporter;
}

async function startOwn(run: LinkRun, { request, died, reporter }: OwnStart): Promise<void> {
  const { id, options } = run.link;
  if (isEmptyNamespace(netnsInstance(run.place))) {
    throw new Error(
      `its network namespace could not be created: see journalctl -u 'wormhole-netns@run:${run.name}'`,
    );
  }
  if (died) await refuseShortLife(run);
  const { image, platform } = request;
  let pulled = false;
  await ensureImage({
    image,
    platform,
    policy: request.pull ?? options.pull,
    onProgress: ({ text }) => {
      if (!pulled) reporter.log(`link ${id}: pulling ${image}; clients wait`);
      pulled = true;
      reporter.showStatus(text);
    },
  });
  if (pulled) reporter.log(`link ${id}: pulled ${image}`);
  reporter.showStatus(`starting ${image}`);
  const started = await startContainer(run.name, id, request);
  const { container, warning } = started;
  if (warning !== undefined) reporter.log(warning);
  noteContainer(run, started, reporter);
  reporter.showStatus(`waiting for ${image} to be ready`);
  await waitUntilReadyOrExplain(container, options.startTimeout);
  reporter.showStatus(`${image} runs as container ${container}`);
}

async function startUsers(run: LinkRun, container: string, reporter: StartReporter): Promise<void> {
  reporter.showStatus(`starting container ${container}`);
  await startExisting(container);
  await waitUntilReadyOrExplain(container, run.link.options.startTimeout);
  // It has another namespace than before. Mounted now, it does not have to change under the link's first client.
  await withSystemd((systemd) => remountNamespace(container, systemd));
  reporter.showStatus(`container ${container} runs`);
}

/** @param timeout in seconds */
async function waitUntilReadyOrExplain(container: string, timeout: number): Promise<void> {
  try {
    await waitUntilReady(container, { timeout: timeout * 1000 });
  } catch (error) {
    throw await withLastWords(container, error as Error);
  }
}

async function refuseShortLife(run: LinkRun): Promise<void> {
  const container = containerOf(run);
  const state = await ownState(run.name, run.link.id, container);
  if (!state || state.running || state.startedAt === undefined || state.finishedAt === undefined) return;
  if (state.finishedAt - state.startedAt > SHORT_LIFE_MS) return;
  throw await withLastWords(
    container,
    new Error(`container "${container}" ${whyBroken(state) ?? 'has ended'}`),
  );
}

async function withLastWords(container: string, error: Error): Promise<Error> {
  const words = await lastLog(container, 3).catch(() => []);
  return words.length === 0 ? error : new Error(`${error.message}; its last words: ${words.join(' / ')}`);
}

function pauseAfter(failures: number): number {
  return Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1));
}

function readFailures(name: string): Failures | undefined {
  const text = readIfExists(givenUpFile(name));
  return text === undefined ? undefined : v.parse(failuresSchema, JSON.parse(text));
}

function writeFailures(name: string, failures: Failures): void {
  const file = givenUpFile(name);
  makeDirectory(dirname(file));
  writeAtomically(file, JSON.stringify(failures));
}
