import { existsSync, watch } from 'node:fs';
import { containerState } from '../docker/container-state.js';
import { watchContainers } from '../docker/events.js';
import { containerName } from '../docker/runs.js';
import { describePlace } from '../recipe/describe.js';
import { tailOf } from '../recipe/link.js';
import { connectSystemd, JobError, type Systemd } from '../systemd/systemd.js';
import { netnsInstance, netnsUnit, placeOfInstance, serviceUnit, socketUnit } from '../units/names.js';
import type { NamedLink } from '../units/plan.js';
import { requireEngine } from './engine.js';
import { type LinkRun, readLinks, runsIn } from './links.js';
import { withLock } from './lock.js';
import { NAMED_DIR } from './namespace.js';
import { isCurrent, renewNamespace } from './netns.js';

/** Where Docker keeps the namespaces of its containers: it makes and removes a file here at each start and stop. */
const DOCKER_DIR = '/run/docker/netns';

/**
 * systemd does not look at the directories while its wormhole-sync.service runs, so that watches them itself, and goes
 * when nothing has happened for so long: a container follows its namespace by less.
 */
const QUIET_MS = 5_000;

/** Takes one line for the journal about each change. */
export type Say = (line: string) => void;

/**
 * Compares what links need with what there is, and has systemd mend what differs, until nothing has changed for 5 s:
 * what wormhole-sync.service does. A namespace that is another one now is mounted anew; a container that a link runs,
 * and that has ended by itself, is started again while somebody is connected, and else taken for asleep.
 *
 * @throws Error when systemd cannot do its part, once all the rest is done
 */
export async function followContainers(say: Say): Promise<void> {
  const systemd = await connectSystemd();
  const stops: (() => void)[] = [];
  const failures: unknown[] = [];
  const busy = new Map<string, Promise<void>>();
  let wake: (() => void) | undefined;
  let dirty = true;
  const touch = () => {
    dirty = true;
    wake?.();
  };
  // What takes long for one link must not keep the others waiting, nor be begun twice.
  const begin = (key: string, work: () => Promise<void>) => {
    if (busy.has(key)) return;
    const done = work()
      .catch((error) => failures.push(error))
      .then(() => {
        busy.delete(key);
        touch();
      });
    busy.set(key, done);
  };
  try {
    stops.push(...watchDirectories(touch), await watchEngine(touch));
    while (dirty || busy.size > 0) {
      if (dirty) {
        dirty = false;
        await compare(systemd, say, begin);
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
  }
  if (failures.length > 0) throw failures[0];
}

type Begin = (key: string, work: () => Promise<void>) => void;

async function compare(systemd: Systemd, say: Say, begin: Begin): Promise<void> {
  const { links } = readLinks();
  const instances = new Set(
    links.flatMap(({ link }) => [link.head, tailOf(link)].map((end) => netnsInstance(end.place))),
  );
  for (const instance of instances) {
    if (instance === undefined || !(await differs(instance, systemd))) continue;
    begin(instance, () => renew(instance, links, systemd, say));
  }
  for (const run of runsIn(links)) {
    if ((await systemd.state(run.unit)).active !== 'active' || (await runs(run))) continue;
    begin(run.unit, () => revive(run, systemd, say));
  }
}

/** One that starts at this moment reads the truth itself, and one that is stopped has no link that wants it. */
async function differs(instance: string, systemd: Systemd): Promise<boolean> {
  const { active } = await systemd.state(netnsUnit(placeOfInstance(instance)) as string);
  return active === 'failed' || (active === 'active' && !(await isCurrent(instance)));
}

async function renew(instance: string, links: NamedLink[], systemd: Systemd, say: Say): Promise<void> {
  const place = placeOfInstance(instance);
  if (await renewNamespace(instance, systemd))
    say(`${describePlace(place)} has changed: its links have moved along.`);
  // systemd restarts the sockets with the namespace, except those that could not start the last time.
  for (const { id, openedBy, link } of links) {
    if (openedBy !== undefined || netnsInstance(link.head.place) !== instance) continue;
    if ((await systemd.state(socketUnit(id))).active === 'active') continue;
    await withLock('links', async () => {
      if (readLinks().links.some((other) => other.id === id)) await systemd.start(socketUnit(id));
    });
  }
}

async function runs(run: LinkRun): Promise<boolean> {
  const { place } = run;
  try {
    await requireEngine();
    const name = place.kind === 'container' ? place.name : containerName(run.name);
    return (await containerState(name))?.running === true;
  } catch {
    return false;
  }
}

async function revive(run: LinkRun, systemd: Systemd, say: Say): Promise<void> {
  const { id } = run.link;
  const { active } = await systemd.state(serviceUnit(id));
  const what = describePlace(run.place);
  if (run.place.kind === 'run' && active === 'active') {
    say(`link ${id}: ${what} has ended while somebody is connected: it is started again.`);
    try {
      return await systemd.reload(run.unit);
    } catch (error) {
      if (!(error instanceof JobError)) throw error;
    }
  } else {
    say(`link ${id}: ${what} has ended: the next connection starts it again.`);
    // In the namespace of a container that is gone, the forwarder is of no use to anybody.
    if (run.place.kind === 'container') await systemd.stop(serviceUnit(id));
  }
  await systemd.stop(run.unit);
}

function watchDirectories(touch: () => void): (() => void)[] {
  return [DOCKER_DIR, NAMED_DIR].filter(existsSync).map((directory) => {
    const watcher = watch(directory, touch);
    watcher.on('error', touch);
    return () => watcher.close();
  });
}

/** Listens to the engine, if there is one: it tells of a container's start later, and more exactly, than its files do. */
async function watchEngine(touch: () => void): Promise<() => void> {
  try {
    await requireEngine();
    return await watchContainers(touch);
  } catch {
    // The comparison meets the same engine, and says what there is to say.
    return () => {};
  }
}
