import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import * as v from 'valibot';
import { makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import { COUNTERS_DIR, countersFile, isId } from '../units/names.js';
import { formatCountersFile, readCountersFile, sumOf } from './counters-file.js';
import { stateDirectory } from './directory.js';
import { withLock } from './lock.js';

/*
 * The counters of links are in memory (/run), where a forwarder that writes them never waits for a disk. They are saved in one
 * file, every ten minutes while a forwarder runs, when the last one has ended, and at shutdown. That file also holds what has
 * flowed on the current day, so that no moment of a power cut makes anything count twice. A finished day has a file of its own.
 */

const directory = () => `${stateDirectory()}/traffic`;
const currentFile = () => `${directory()}/current.json`;
const dayFile = (day: string) => `${directory()}/${day}.json`;

/** A day in the name of its file. */
const DAY_FILE = /^(\d{4}-\d\d-\d\d)\.json$/;

/** How many days are kept. */
const MOST_DAYS = 400;

/** What happens within this time before it is saved counts for the day on which it began, ms. The timer elapses at midnight. */
const LATE_MS = 60_000;

/** The counters that are recorded by day. */
const FIGURES = [
  'served',
  'unserved',
  'denied',
  'refused',
  'bytesFromClients',
  'bytesFromTarget',
  'datagramsFromClients',
  'datagramsFromTarget',
] as const;

/** What has flowed through a link on one day; see `Counters` for the figures. */
export type Traffic = Record<(typeof FIGURES)[number], number>;

const figure = v.pipe(v.number(), v.minValue(0));
const traffic = v.object(v.entriesFromList(FIGURES, v.optional(figure, 0)));
const dayRecord = v.record(v.string(), traffic);
const savedCounters = v.object({
  figures: v.record(v.string(), figure),
  texts: v.record(v.string(), v.string()),
});
const current = v.object({
  day: v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\d$/)),
  traffic: dayRecord,
  counters: v.record(v.string(), savedCounters),
});
type Current = v.InferOutput<typeof current>;

/** What has flowed on one day, such as `2026-11-26` in local time, by the ids of links. */
export interface DayTraffic {
  day: string;
  links: Record<string, Traffic>;
}

/** Saves the counters of all links, and adds what has flowed since the last time to the record of the day. */
export function saveCounters(now = new Date()): Promise<void> {
  return withLock('traffic', async () => {
    const before = readCurrent(now);
    const after = record(before, now);
    if (JSON.stringify(after) !== JSON.stringify(before)) writeCurrent(before, after);
  });
}

/** Gives forwarders the counters that were saved before a reboot. Those that have counted since then are left alone. */
export function restoreCounters(): Promise<void> {
  return withLock('traffic', async () => {
    makeDirectory(COUNTERS_DIR);
    for (const [id, saved] of Object.entries(readCurrent(new Date()).counters)) {
      if (!isId(id) || readCountersFile(countersFile(id)) !== undefined) continue;
      writeFileSync(countersFile(id), formatCountersFile(saved), { mode: 0o644 });
    }
  });
}

/**
 * Forgets what the forwarders of links have counted; what has flowed through them stays in the record of the day. A record that
 * cannot be written, which is told on stderr, keeps no link from being deleted.
 */
export async function removeCounters(ids: string[]): Promise<void> {
  const removeFiles = () => {
    for (const id of ids) rmSync(countersFile(id), { force: true });
  };
  try {
    await withLock('traffic', async () => {
      recordAndForget(ids, removeFiles);
    });
  } catch (error) {
    process.stderr.write(
      `wormhole: what has flowed through ${ids.join(', ')} since the last record is lost: ${(error as Error).message}\n`,
    );
    removeFiles();
  }
}

function recordAndForget(ids: string[], removeFiles: () => void): void {
  const now = new Date();
  const before = readCurrent(now);
  if (!ids.some((id) => id in before.counters || readCountersFile(countersFile(id)))) {
    removeFiles();
    return;
  }
  const after = record(before, now);
  for (const id of ids) delete after.counters[id];
  // Before the record is written: if this is killed between the two, what has flowed since the last record is lost. The other way round,
  // all that the files say would be recorded once more.
  removeFiles();
  writeCurrent(before, after);
}

/** What has flowed on each recorded day, the oldest first, up to this moment. */
export function readTraffic(now = new Date()): DayTraffic[] {
  const days = new Map<string, DayTraffic['links']>();
  for (const day of recordedDays()) days.set(day, readDay(day));
  const saved = parseCurrent() ?? emptyRecord(now);
  for (const { day, traffic } of [saved, record(saved, now)])
    if (Object.keys(traffic).length > 0) days.set(day, traffic);
  return [...days].sort(([one], [other]) => (one < other ? -1 : 1)).map(([day, links]) => ({ day, links }));
}

/** Adds to a record what the counters say now. */
function record(before: Current, now: Date): Current {
  const day = localDay(new Date(now.getTime() - LATE_MS));
  // The clock may have been set back to a day that has a record already.
  const sums = day === before.day ? before.traffic : readDay(day);
  const after: Current = { day, traffic: { ...sums }, counters: { ...before.counters } };
  if (!existsSync(COUNTERS_DIR)) return after;
  for (const id of readdirSync(COUNTERS_DIR).filter(isId)) {
    const counters = readCountersFile(countersFile(id));
    if (!counters) continue;
    const flowed = difference(counters.figures, before.counters[id]?.figures ?? {});
    after.counters[id] = counters;
    if (Object.values(flowed).some((value) => value > 0)) after.traffic[id] = sum(after.traffic[id], flowed);
  }
  return after;
}

function difference(now: Record<string, number>, before: Record<string, number>): Traffic {
  return traffics((name) => {
    const [to, from] = [now[name] ?? 0, before[name] ?? 0];
    // It has been counted from zero again.
    return to >= from ? to - from : to;
  });
}

function sum(one: Traffic | undefined, other: Traffic): Traffic {
  return traffics((name) => sumOf(one?.[name] ?? 0, other[name]));
}

function traffics(value: (name: keyof Traffic) => number): Traffic {
  return Object.fromEntries(FIGURES.map((name) => [name, value(name)])) as Traffic;
}

/** Writes the record. A day that is over gets its own file before: if that is all that is done, the next save does it again. */
function writeCurrent(before: Current, after: Current): void {
  makeDirectory(directory());
  if (before.day !== after.day && Object.keys(before.traffic).length > 0) {
    writeAtomically(dayFile(before.day), JSON.stringify(before.traffic));
    for (const day of recordedDays().slice(0, -MOST_DAYS)) rmSync(dayFile(day), { force: true });
  }
  writeAtomically(currentFile(), JSON.stringify(after));
}

function readCurrent(now: Date): Current {
  const read = parseCurrent();
  if (read) return read;
  if (existsSync(currentFile())) {
    const aside = `${currentFile()}.unreadable`;
    renameSync(currentFile(), aside);
    process.stderr.write(`wormhole: ${aside} is not a record of counters: links are counted from now on\n`);
  }
  return emptyRecord(now);
}

function parseCurrent(): Current | undefined {
  const text = readIfExists(currentFile());
  return text === undefined ? undefined : parseJson(current, text);
}

function emptyRecord(now: Date): Current {
  return { day: localDay(new Date(now.getTime() - LATE_MS)), traffic: {}, counters: {} };
}

/** A day that cannot be read has no record. */
function readDay(day: string): DayTraffic['links'] {
  const text = readIfExists(dayFile(day));
  return (text === undefined ? undefined : parseJson(dayRecord, text)) ?? {};
}

function recordedDays(): string[] {
  if (!existsSync(directory())) return [];
  return readdirSync(directory())
    .flatMap((name) => DAY_FILE.exec(name)?.[1] ?? [])
    .sort();
}

function parseJson<T>(schema: v.GenericSchema<unknown, T>, text: string): T | undefined {
  try {
    const read = v.safeParse(schema, JSON.parse(text));
    return read.success ? read.output : undefined;
  } catch {
    return undefined;
  }
}

/** The day in local time: `2026-11-26`. */
function localDay(time: Date): string {
  const two = (number: number) => String(number).padStart(2, '0');
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
}
