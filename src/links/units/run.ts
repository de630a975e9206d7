import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { readLinks } from '../../state/links.js';
import { makeDirectory, readIfExists, writeAtomically } from '../../system/files.js';
import { lastLines, lastOutput } from '../../systemd/journal.js';
import { JobError, type Systemd, withSystemd } from '../../systemd/systemd.js';
import { followUnit, serviceUnit, startedFile } from '../../units/names.js';
import type { JournalLines } from '../containers/kept-container.js';
import { type LinkUnit, servicesIn } from '../containers/runs.js';
import { noteFailure } from '../start-failures.js';

/** A service that fails this soon after its start never worked: starting it again at once would only repeat that. */
const SHORT_LIFE_MS = 10_000;

/** States of a unit in which a connection has nothing to start. */
const UP = ['active', 'reloading', 'activating'];

/** What {@link startedFile} holds: when the service was started, in ms since the epoch, and how often in a row it had failed before. */
const startedSchema = v.object({ at: v.number(), failures: v.number() });
type Started = v.InferOutput<typeof startedSchema>;

/** How a service is started. */
interface ServiceStart {
  /** How often in a row it has failed. */
  failures: number;
  reporter: JournalLines & { showStatus(status: string): void };
}

/**
 * Starts the service of a run, unless it runs, and waits until systemd calls it active. One that ran before is not the link's to stop.
 *
 * @throws Error that names the service, with its last words, when it does not start within the link's start timeout
 */
export function startService(run: LinkUnit, { failures, reporter }: ServiceStart): Promise<void> {
  const { name, place, link } = run;
  const service = place.name;
  const { startTimeout } = link.options;
  return withSystemd(async (systemd) => {
    const since = Date.now();
    reporter.showStatus(`starting ${service}`);
    if (!UP.includes((await systemd.state(service)).active)) writeStarted(name, { at: since, failures });
    const started = await within(startTimeout * 1000, startAndFollow(service, systemd));
    if (started === 'too late')
      throw new Error(
        `unit ${service} is not active ${startTimeout} s after its start: see systemctl status ${service}`,
      );
    if (started instanceof JobError) {
      forgetStarted(name);
      throw new Error(await describeFailure(service, since, systemd));
    }
    reporter.showStatus(`${service} runs`);
  });
}

/** Starts a service, and the unit that ends with it: if it ends at once, that one does not start. Returns the job that failed. */
async function startAndFollow(service: string, systemd: Systemd): Promise<JobError | undefined> {
  try {
    await systemd.start(service);
    await systemd.start(followUnit(service));
    return undefined;
  } catch (error) {
    if (error instanceof JobError) return error;
    throw error;
  }
}

async function within<T>(ms: number, work: Promise<T>): Promise<T | 'too late'> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'too late'>((resolve) => {
    timer = setTimeout(() => resolve('too late'), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function describeFailure(service: string, since: number, systemd: Systemd): Promise<string> {
  const { Result: result } = await systemd.properties(service, 'Service');
  const output = await lastOutput(service, since, 3);
  // A service that has said nothing may not have run at all.
  const lines = output.length > 0 ? output : await lastLines(service, since, 3);
  const words = lines.map((line) => line.replace(/[.\s]*$/, ''));
  const said =
    words.length === 0 ? `: see journalctl -u ${service}` : `; its last words: ${words.join(' / ')}`;
  return `unit ${service} has failed (${String(result)})${said}`;
}

/**
 * Stops the service of a run if a connection has started it, and nothing else needs it: another link, or a unit that is active.
 * If it has failed soon after its start, that is noted, so that the next start waits.
 *
 * @throws JobError when systemd cannot stop it
 */
export function stopService(run: LinkUnit, journal: JournalLines): Promise<void> {
  const { name, place, link } = run;
  const service = place.name;
  return withSystemd(async (systemd) => {
    const started = readStarted(name);
    if (!started) return;
    const { active } = await systemd.state(service);
    if (active === 'failed') return noteEnd(run, started, journal, systemd);
    if (!UP.includes(active)) return forgetStarted(name);
    // It has ended, which has stopped the run, and systemd has restarted it (Restart=). Clients may use it already: the run follows it
    // again, and stops it when the link is idle.
    if (await isRestartedInUse(run, systemd)) return systemd.queue(run.unit);
    if (await handOver(run, started, systemd)) return forgetStarted(name);
    const others = await unitsThatNeed(service, systemd);
    forgetStarted(name);
    if (others.length > 0)
      return journal.log(
        `link ${link.id}: unit ${service} stays, since it is needed by ${others.join(', ')}.`,
        { event: 'stopped' },
      );
    await systemd.stop(service);
  });
}

/**
 * Notes that the service of a run has ended, if it has: when it has failed soon after its start, the next start waits.
 *
 * @throws Error when systemd cannot be asked
 */
export function noteEndOfService(run: LinkUnit, journal: JournalLines): Promise<void> {
  const { name, place } = run;
  return withSystemd(async (systemd) => {
    const started = readStarted(name);
    if (!started) return;
    const { active } = await systemd.state(place.name);
    if (active === 'failed') await noteEnd(run, started, journal, systemd);
    else if (!UP.includes(active)) forgetStarted(name);
  });
}

/** Notes that a service has failed. */
async function noteEnd(
  { name, place, link }: LinkUnit,
  { at, failures }: Started,
  { warn }: JournalLines,
  systemd: Systemd,
): Promise<void> {
  forgetStarted(name);
  if (Date.now() - at > SHORT_LIFE_MS) return;
  const reason = await describeFailure(place.name, at, systemd);
  warn(`link ${link.id}: ${reason}. ${noteFailure(name, failures)}`, { event: 'failed' });
}

/** Whether a service runs again after its end, while clients of the link are served. */
async function isRestartedInUse({ place, link }: LinkUnit, systemd: Systemd): Promise<boolean> {
  const [follows, forwarder] = await Promise.all([
    systemd.state(followUnit(place.name)),
    systemd.state(serviceUnit(link.id)),
  ]);
  return !UP.includes(follows.active) && forwarder.active === 'active';
}

/** Whether another link uses a service at this moment: then the service is that one's to stop. */
async function handOver({ name, place }: LinkUnit, started: Started, systemd: Systemd): Promise<boolean> {
  const others = servicesIn(readLinks().links).filter(
    (other) => other.name !== name && other.place.name === place.name,
  );
  for (const other of others)
    if (UP.includes((await systemd.state(other.unit)).active)) {
      writeStarted(other.name, started);
      return true;
    }
  return false;
}

/** The units that are active and need a service, as systemd sees it for StopWhenUnneeded=; targets are none: they group units. */
async function unitsThatNeed(service: string, systemd: Systemd): Promise<string[]> {
  const of = await systemd.properties(service, 'Unit');
  const names = ['RequiredBy', 'RequisiteOf', 'WantedBy', 'BoundBy', 'UpheldBy'].flatMap(
    (name) => (of[name] as string[] | undefined) ?? [],
  );
  const needing: string[] = [];
  for (const name of new Set(names))
    if (
      !name.endsWith('.target') &&
      name !== followUnit(service) &&
      UP.includes((await systemd.state(name)).active)
    )
      needing.push(name);
  return needing;
}

function readStarted(name: string): Started | undefined {
  const text = readIfExists(startedFile(name));
  return text === undefined ? undefined : v.parse(startedSchema, JSON.parse(text));
}

function writeStarted(name: string, started: Started): void {
  const file = startedFile(name);
  makeDirectory(dirname(file));
  writeAtomically(file, JSON.stringify(started));
}

/** Records that a service is not, or no longer, the link's to stop. */
export function forgetStarted(name: string): void {
  rmSync(startedFile(name), { force: true });
}
