import { existsSync, watch } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { watchContainers } from '../../docker/events.js';
import { makeDirectory } from '../../system/files.js';
import { BusUnreachable } from '../../systemd/bus.js';
import type { LogLine } from '../../systemd/journal-entry.js';
import { repeatWhenBusIsLost } from '../../systemd/lost-bus.js';
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

/** The pause before a comparison that has failed is repeated, ms; each is twice as long as the one before. */
const FIRST_PAUSE_MS = 500;

/** How often it is repeated: for 16 s. */
const RETRIES = 5;

/**
 * Calls {@link repairLinks} again and again, until nothing has changed for 5 s, for wormhole-sync.service. When the system bus is lost, it
 * begins again as soon as the bus is back: what changed meanwhile starts no other service. When a comparison fails, it is repeated a few
 * times.
 *
 * @param log takes one line for the journal about each change
 * @param once does not wait for changes: for wormhole-sync-again.service, since systemd begins to watch only when the other service has
 *   ended
 * @throws Error when systemd or the engine cannot do its part, once all the rest is done
 */
export async function followContainers(log: LogLine, { once }: { once: boolean }): Promise<void> {
  const failures: unknown[] = [];
  for (let retry = 0; ; retry++) {
    try {
      await repeatWhenBusIsLost(
        () => followUntilQuiet({ log, failures, once }),
        log,
        'Links do not follow their containers',
      );
      break;
    } catch (error) {
      if (retry === RETRIES) throw error;
      const pause = FIRST_PAUSE_MS * 2 ** retry;
      log(
        `${(error as Error).message}. The links that it concerns do not follow their containers; it is tried again in ${pause / 1000} s.`,
        { event: 'failed' },
      );
      await sleep(pause);
    }
  }
  if (failures.length > 0) throw failures[0];
}

interface FollowOptions {
  log: LogLine;
  failures: unknown[];
  once: boolean;
}

/** @throws BusUnreachable; as {@link repairLinks}; what fails while one link is repaired is added to `failures`. */
async function followUntilQuiet({ log, failures, once }: FollowOptions): Promise<void> {
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
    if (!once) stops.push(await watchForChanges(touch));
    while (dirty || busy.size > 0) {
      if (dirty) {
        dirty = false;
        await repairLinks({ systemd, tried, log, begin });
      }
      if (once && busy.size === 0) return;
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
