import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { lastLog } from '../docker/container-log.js';
import { containerState } from '../docker/container-state.js';
import { EngineDown } from '../docker/engine.js';
import { ensureImage } from '../docker/image.js';
import { waitUntilReady, whyBroken } from '../docker/ready.js';
import { parseRunArguments } from '../docker/run-arguments.js';
import { startContainer, stopContainer } from '../docker/run-container.js';
import { startExisting, stopExisting } from '../docker/user-container.js';
import { connectSystemd } from '../systemd/systemd.js';
import { givenUpFile, netnsInstance } from '../units/names.js';
import { requireEngine } from './engine.js';
import { containerOf, type LinkRun, readLinks, runsIn } from './links.js';
import { isVoid, renewNamespace } from './netns.js';

/** A container that ended so soon after its start never worked: starting it again at once would only repeat that. */
const SHORT_LIFE_MS = 10_000;

/** After the first failure, doubled by each one that follows. */
const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 30_000;

/** What the file of {@link givenUpFile} holds: how often in a row it has failed, and when last, in ms since the epoch. */
interface Failures {
  count: number;
  last: number;
}

/** How to tell of what takes a while: `say` a line for the journal, `show` what is under way at this moment. */
export interface Telling {
  say(line: string): void;
  show(status: string): void;
}

/**
 * Has the container of a run running, and healthy if it says so of itself: what wormhole-NAME-run.service does.
 *
 * After a failure the next call waits first: 1 s, and twice as long after each further one, to 30 s at the most.
 *
 * @param name the run, as in the unit's name
 * @param died whether the container was running and has ended by itself
 * @throws Error with the container's last words when it does not come up; clients that wait are then given up
 */
export async function startRun(name: string, died: boolean, telling: Telling): Promise<void> {
  const run = findRun(name);
  const failures = readFailures(name);
  const pause = failures && failures.last + pauseAfter(failures.count) - Date.now();
  if (pause !== undefined && pause > 0) {
    telling.show(`failed ${failures?.count} times; tries again in ${Math.ceil(pause / 1000)} s`);
    await sleep(pause);
  }
  try {
    await requireEngine();
    await (run.place.kind === 'run'
      ? startOwn(run, run.place.args, died, telling)
      : startOther(run, telling));
    rmSync(givenUpFile(name), { force: true });
  } catch (error) {
    const count = (failures?.count ?? 0) + 1;
    writeFailures(name, { count, last: Date.now() });
    const next = `Clients that wait are closed; the next connection tries again, in ${pauseAfter(count) / 1000} s at the soonest.`;
    throw new Error(`link ${run.link.id}: ${(error as Error).message.replace(/[.\s]*$/, '')}. ${next}`);
  }
}

/** Stops the container of a run, and keeps it with all that it has written. @throws Error when the engine cannot */
export async function stopRun(name: string): Promise<void> {
  try {
    await requireEngine();
  } catch (error) {
    // With the engine go its containers.
    if (error instanceof EngineDown) return;
    throw error;
  }
  const run = findRun(name);
  if (run.place.kind === 'container') await stopExisting(run.place.name);
  else await stopContainer(name, containerOf(run));
}

function findRun(name: string): LinkRun {
  const run = runsIn(readLinks().links).find((candidate) => candidate.name === name);
  if (!run) throw new Error(`no link runs anything of the name "${name}"`);
  return run;
}

async function startOwn(run: LinkRun, args: string, died: boolean, telling: Telling): Promise<void> {
  if (isVoid(netnsInstance(run.place))) {
    throw new Error(
      `its network namespace could not be made: see journalctl -u 'wormhole-netns@run:${run.name}'`,
    );
  }
  if (died) await refuseShortLife(containerOf(run));
  const request = parseRunArguments(args);
  const { image, platform } = request;
  let pulled = false;
  await ensureImage(image, request.pull ?? run.link.options.pull, platform, ({ text }) => {
    if (!pulled) telling.say(`link ${run.link.id}: pulling ${image}, whoever is connected waits`);
    pulled = true;
    telling.show(text);
  });
  if (pulled) telling.say(`link ${run.link.id}: pulled ${image}`);
  telling.show(`starting ${image}`);
  const { container, warning } = await startContainer(run.name, run.link.id, request);
  if (warning !== undefined) telling.say(warning);
  telling.show(`waiting for ${image} to be ready`);
  await ready(container, run.link.options.startTimeout);
  telling.show(`${image} runs as container ${container}`);
}

async function startOther(run: LinkRun, telling: Telling): Promise<void> {
  const { place } = run;
  if (place.kind !== 'container') throw new Error(`link ${run.link.id} has nothing to start`);
  telling.show(`starting container ${place.name}`);
  await startExisting(place.name);
  await ready(place.name, run.link.options.startTimeout);
  // It has another namespace than before. Moved now, the link need not move under its first client.
  const systemd = await connectSystemd();
  try {
    await renewNamespace(place.name, systemd);
  } finally {
    systemd.close();
  }
  telling.show(`container ${place.name} runs`);
}

async function ready(container: string, timeout: number): Promise<void> {
  try {
    await waitUntilReady(container, { timeout: timeout * 1000 });
  } catch (error) {
    throw await withLastWords(container, error as Error);
  }
}

async function refuseShortLife(container: string): Promise<void> {
  const state = await containerState(container);
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
  const file = givenUpFile(name);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
}

function writeFailures(name: string, failures: Failures): void {
  const file = givenUpFile(name);
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
  writeFileSync(file, JSON.stringify(failures), { mode: 0o644 });
}
