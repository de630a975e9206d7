import { setTimeout as sleep } from 'node:timers/promises';
import { lastLog } from '../../docker/container-log.js';
import { EngineDown } from '../../docker/engine.js';
import { ensureImage } from '../../docker/image.js';
import { waitUntilReady, whyBroken } from '../../docker/ready.js';
import { ownState, startContainer, stopContainer } from '../../docker/run-container.js';
import { startExisting, stopExisting } from '../../docker/user-container.js';
import type { RunRequest } from '../../docker-run/request.js';
import { withSystemd } from '../../systemd/systemd.js';
import { netnsInstance } from '../../units/names.js';
import { isUnitRun } from '../../units/runs.js';
import { forgetFailures, noteFailure, pauseLeft, readFailures } from '../start-failures.js';
import { noteEndOfService, startService, stopService } from '../units/run.js';
import { isEmptyNamespace } from './empty-namespace.js';
import { passGate } from './gates.js';
import { type JournalLines, noteContainer } from './kept-container.js';
import { queueRemount } from './netns.js';
import { requireEngine } from './require-engine.js';
import { containerOf, findRun, findUnitRun, type LinkRun, type LinkUnit } from './runs.js';

/** A container that ended this soon after its start never worked: starting it again at once would only repeat that. */
const SHORT_LIFE_MS = 10_000;

/** Where the progress of a start is reported. */
export interface StartReporter extends JournalLines {
  /** Takes what is being done at this moment. */
  showStatus(status: string): void;
}

/**
 * Starts what a link runs, for wormhole-NAME-run.service: a container, which is waited for until it is healthy if it has a health
 * check, or a service of systemd's.
 *
 * After a failure the next call waits first: 1 s, and twice as long after each further one, up to 30 s.
 *
 * @param name the run, as in the unit's name
 * @param run.died whether the container was running and has ended by itself
 * @throws Error with the last words of what does not start; waiting clients are then closed
 */
export async function startRun(
  name: string,
  { died }: { died: boolean },
  reporter: StartReporter,
): Promise<void> {
  await passGate(name);
  const run = requireRun(name);
  const failures = readFailures(name);
  const pause = failures === undefined ? 0 : pauseLeft(failures, Date.now());
  if (pause > 0) {
    reporter.showStatus(`failed ${failures?.count} times; tries again in ${Math.ceil(pause / 1000)} s`);
    await sleep(pause);
  }
  try {
    if (isUnitRun(run)) await startService(run, { failures: failures?.count ?? 0, reporter });
    else await startContainerOf(run, died, reporter);
    forgetFailures(name);
  } catch (error) {
    const next = noteFailure(name, failures?.count ?? 0);
    throw new Error(`link ${run.link.id}: ${(error as Error).message.replace(/[.\s]*$/, '')}. ${next}`);
  }
}

async function startContainerOf(run: LinkRun, died: boolean, reporter: StartReporter): Promise<void> {
  await requireEngine();
  await (run.place.kind === 'run'
    ? startOwn(run, { request: run.place.request, died, reporter })
    : startUsers(run, run.place.name, reporter));
}

/**
 * Stops what a link runs: a container, which is kept with all that it has written, or a service that a connection has started.
 *
 * @throws Error when the engine, or systemd, cannot
 */
export async function stopRun(name: string, journal: JournalLines): Promise<void> {
  const run = requireRun(name);
  if (isUnitRun(run)) return stopService(run, journal);
  try {
    await requireEngine();
  } catch (error) {
    // An engine that stops has stopped its containers.
    if (error instanceof EngineDown) return;
    throw error;
  }
  if (run.place.kind === 'container') await stopExisting(run.place.name);
  else await stopContainer(name, containerOf(run));
}

/** Notes that the service of a run has ended, if it has. @throws Error when systemd cannot be asked */
export async function noteEndOfRun(name: string, journal: JournalLines): Promise<void> {
  const run = requireRun(name);
  if (isUnitRun(run)) await noteEndOfService(run, journal);
}

function requireRun(name: string): LinkRun | LinkUnit {
  const run = findRun(name) ?? findUnitRun(name);
  if (!run) throw new Error(`no link runs anything with the name "${name}"`);
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
      if (!pulled) reporter.log(`link ${id}: pulling ${image}; clients wait`, { event: 'pulling' });
      pulled = true;
      reporter.showStatus(text);
    },
  });
  if (pulled) reporter.log(`link ${id}: pulled ${image}`, { event: 'pulling' });
  reporter.showStatus(`starting ${image}`);
  const started = await startContainer(run.name, id, request);
  const { container, warning } = started;
  if (warning !== undefined) reporter.log(warning, { event: 'failed' });
  noteContainer(run, started, reporter);
  reporter.showStatus(`waiting for ${image} to be ready`);
  await waitUntilReadyOrExplain(container, options.startTimeout);
  reporter.showStatus(`${image} runs as container ${container}`);
}

async function startUsers(run: LinkRun, container: string, reporter: StartReporter): Promise<void> {
  reporter.showStatus(`starting container ${container}`);
  await startExisting(container);
  await waitUntilReadyOrExplain(container, run.link.options.startTimeout);
  // It has another namespace than before, which another link may have mounted. The forwarder starts after it is mounted again.
  await withSystemd((systemd) => queueRemount(container, systemd));
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
