import { watch } from 'node:fs';
import { dirname } from 'node:path';
import { EngineDown } from '../../docker/engine.js';
import { describeLabelFault, readLabelFaults, writeLabelFaults } from '../../state/label-faults.js';
import type { LogLine } from '../../systemd/journal-entry.js';
import { repeatWhenBusIsLost } from '../../systemd/lost-bus.js';
import { notifySystemd } from '../../systemd/notify.js';
import { printable } from '../../text/printable.js';
import { FaultyFile } from '../../units/declaration.js';
import type { LabelFault } from '../../units/label-containers.js';
import { watchForChanges } from '../containers/sync.js';
import { applyLabels, LABELS_FILE, type LabelsOutcome } from './labels.js';

/** systemd does not watch while its service runs; as in containers/sync.ts. */
const QUIET_MS = 5_000;

/**
 * How long a link must have been without its container before it is deleted, and a fault have been there before it is told, ms.
 * Compose makes the containers of a project one after the other, and recreates one by removing it first.
 */
const SETTLE_MS = 3_000;

/** Where the journal lines go. */
export interface LabelsJournal {
  log: LogLine;
  warn: LogLine;
}

/** How labels are followed. */
export interface FollowOptions {
  /** The key for links to other machines. */
  keyFile: string;
  /** Ends when nothing is left to do, for wormhole-labels-again.service, instead of waiting for the next change. */
  once: boolean;
}

/**
 * Calls {@link applyLabels} again and again, until nothing has changed for 5 s, for wormhole-labels.service. Each fault is told once,
 * until it is gone. When the system bus is lost, it begins again as soon as the bus is back.
 *
 * @throws FaultyFile, or the engine's own error; an engine that is not there is no error, and all stays as it is
 */
export function followLabels(options: FollowOptions, journal: LabelsJournal): Promise<void> {
  return repeatWhenBusIsLost(
    () => followUntilQuiet(options, journal),
    journal.log,
    'Links do not follow the labels of containers',
  );
}

async function followUntilQuiet({ keyFile, once }: FollowOptions, journal: LabelsJournal): Promise<void> {
  const gone = createDebounce();
  const wrong = createDebounce();
  let dirty = true;
  let wake = () => {};
  const touch = () => {
    dirty = true;
    wake();
  };
  const stops = [await watchForChanges(touch), watchFile(touch)];
  try {
    for (;;) {
      dirty = false;
      const { faults, waiting } = await apply((id) => gone.noteSeen(id));
      gone.forgetOthers();
      const former = readLabelFaults();
      const told = former.map(describeLabelFault);
      const settled = faults.filter((fault) => {
        const line = describeLabelFault(fault);
        return told.includes(line) || wrong.noteSeen(line);
      });
      // A restart of its container is no news.
      const isWaiting = ({ container, label }: LabelFault) =>
        waiting.some((one) => one.container === container && one.label === label);
      settled.push(...former.filter(isWaiting));
      wrong.forgetOthers();
      for (const line of settled.map(describeLabelFault))
        if (!told.includes(line)) journal.warn(line, { event: 'refused' });
      writeLabelFaults(settled);
      notifySystemd(`STATUS=${describeStatus(settled)}`);
      const due = Math.min(gone.msUntilStable(), wrong.msUntilStable());
      if (once && !dirty && due === Number.POSITIVE_INFINITY) return;
      if (!dirty) await new Promise<void>((resolve) => startTimer(Math.min(QUIET_MS, due), resolve));
      if (!dirty && due === Number.POSITIVE_INFINITY) return;
    }
  } catch (error) {
    if (!(error instanceof EngineDown)) throw error;
    journal.log(`${error.message}; the links of labels stay as they are`, { event: 'failed' });
  } finally {
    for (const stop of stops) stop();
  }

  function startTimer(ms: number, resolve: () => void): void {
    const timer = setTimeout(resolve, ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  }

  async function apply(mayDelete: (id: string) => boolean): Promise<LabelsOutcome> {
    try {
      return await applyLabels({ keyFile, dryRun: false, deleteAll: false, mayDelete }, journal.log);
    } catch (error) {
      if (error instanceof FaultyFile)
        notifySystemd(`STATUS=nothing is done: ${error.message.split('\n')[0]}`);
      throw error;
    }
  }
}

/** Watches the directory of a file, which an editor replaces. */
function watchFile(touch: () => void): () => void {
  const watcher = watch(dirname(LABELS_FILE), (_, name) => {
    if (name === null || LABELS_FILE.endsWith(`/${name}`)) touch();
  });
  watcher.on('error', touch);
  return () => watcher.close();
}

function describeStatus(faults: LabelFault[]): string {
  const [first] = faults;
  if (!first) return 'all labels are carried out';
  const others = faults.length > 1 ? `; ${faults.length - 1} more: wormhole list` : '';
  return printable(`${describeLabelFault(first)}${others}`);
}

/** Tells when something has been seen without interruption for {@link SETTLE_MS}. */
function createDebounce() {
  const since = new Map<string, number>();
  let seen = new Set<string>();
  return {
    /** Notes that it is seen, and returns whether it has been for long enough. */
    noteSeen(key: string): boolean {
      seen.add(key);
      const first = since.get(key) ?? performance.now();
      since.set(key, first);
      return performance.now() - first >= SETTLE_MS;
    },
    /** Forgets what has not been seen since it was called last. */
    forgetOthers(): void {
      for (const key of since.keys()) if (!seen.has(key)) since.delete(key);
      seen = new Set();
    },
    /** In how many ms the first of what is seen has been so for long enough; Infinity when none is still to come. */
    msUntilStable(): number {
      const now = performance.now();
      const rest = [...since.values()].map((first) => first + SETTLE_MS - now).filter((ms) => ms > 0);
      return Math.min(...rest);
    },
  };
}
