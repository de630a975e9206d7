import { existsSync, watch } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { watchContainers } from '../../docker/events.js';
import { makeDirectory } from '../../system/files.js';
import { BusUnreachable } from '../../systemd/bus.js';
import type { LogLine } from '../../systemd/journal-entry.js';
import { connectSystemd } from '../../systemd/systemd.js';
import { repairLinks } from '../repair.js';
import { NAMED_DIR } from './namespace.js';
import { requireEngine } from './require-engine.js';

/** Where Docker keeps the namespaces of its containers: it creates and removes a file here at each start and stop. */
const DOCKER_DIR = '/run/docker/netns';

/** Where the programs that start containers for Podman keep their state, with or without a network: a directory a container. */
const PODMAN_DIRS = ['/run/crun', '/run/runc'];

/**
 * systemd does not watch the directories while its wormhole-sync.service runs. So the service watches them itself, and ends
 * when nothing has happened for this long, ms. A container follows its namespace by less.
 */
const QUIET_MS = 5_000;

/** The pause before what has failed is tried again, ms; it doubles up to the last. */
const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 30_000;

/** How often all is compared again after an answer of the engine that nobody expects: for 16 s. */
const RETRIES = 5;

/**
 * Calls {@link repairLinks} again and again, until nothing has changed for 5 s, for wormhole-sync.service. When the system bus is lost, it
 * begins again as soon as the bus is back: what changed meanwhile starts no other service. When a comparison fails, it is repeated a few
 * times.
 *
 * @param log takes one line for the journal about each change
 * @throws Error when systemd or the engine cannot do its part, once all the rest is done
 */
export async function followContainers(log: LogLine): Promise<void> {
  const failures: unknown[] = [];
  let retries = 0;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LAST_PAUSE_MS)) {
    try {
      await followUntilQuiet(log, failures);
      break;
    } catch (error) {
      const isBus = error instanceof BusUnreachable;
      if (!isBus && retries++ === RETRIES) throw error;
      const { message } = error as Error;
      const fate = isBus
        ? 'Links do not follow their containers until it is back'
        : 'The links that it concerns do not follow their containers';
      log(`${message}. ${fate}; it is tried again in ${pause / 1000} s.`, {
        event: isBus ? 'unreachable' : 'failed',
      });
      await sleep(pause);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** @throws BusUnreachable; as {@link repairLinks}; what fails while one link is repaired is added to `failures`. */
async function followUntilQuiet(log: LogLine, failures: unknown[]): Promise<void> {
  const systemd = await connectSystemd();
  const stops: (() => void)[] = [];
  const busy = new Map<string, Promise<void>>();
  let wake: (() => void) | undefined;
  const tried = new Set<string>();
  let dirty = true;
  const touch = () => {
    dirty = true;
    wake?.();
  };
  // Work that takes long for one link must neither delay the others nor be begun twice.
  const begin = (key: string, work: () => Promise<void>) => {
    if (busy.has(key)) return;
    const done = work()
      .catch((error) => {
        // All is compared again when the bus is back.
        if (!(error instanceof BusUnreachable)) failures.push(error);
      })
      .then(() => {
        busy.delete(key);
        touch();
      });
    busy.set(key, done);
  };
  try {
    stops.push(await watchForChanges(touch));
    while (dirty || busy.size > 0) {
      if (dirty) {
        dirty = false;
        await repairLinks({ systemd, tried, log, begin });
      }
      if (!dirty) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, QUIET_MS);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    }
  } finally {
    for (const stop of stops) stop();
    systemd.close();
    // None of them may be under way when the next comparison begins.
    await Promise.all(busy.values());
  }
}

/**
 * Calls `touch` whenever a container or a network namespace may have come, gone or changed.
 *
 * @returns a function that stops it
 */
export async function watchForChanges(touch: () => void): Promise<() => void> {
  const stops = [...watchDirectories(touch), await watchEngine(touch)];
  return () => {
    for (const stop of stops) stop();
  };
}

function watchDirectories(touch: () => void): (() => void)[] {
  // The first `ip netns add` would create it, unseen.
  makeDirectory(NAMED_DIR);
  return [DOCKER_DIR, NAMED_DIR, ...PODMAN_DIRS].filter(existsSync).map((directory) => {
    const watcher = watch(directory, touch);
    watcher.on('error', touch);
    return () => watcher.close();
  });
}

/** Listens to the engine, if there is one: it reports a container's start later, and more exactly, than its files do. */
async function watchEngine(touch: () => void): Promise<() => void> {
  try {
    await requireEngine();
    return await watchContainers(touch);
  } catch {
    // The comparison meets the same engine, and reports what is wrong with it.
    return () => {};
  }
}
