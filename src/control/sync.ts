import { existsSync, type FSWatcher, watch } from 'node:fs';
import { watchContainers } from '../docker/events.js';
import { describePlace } from '../recipe/describe.js';
import { tailOf } from '../recipe/link.js';
import { connectSystemd, type Systemd } from '../systemd/systemd.js';
import { netnsInstance, netnsUnit, placeOfInstance, socketUnit } from '../units/names.js';
import { requireEngine } from './engine.js';
import { type Links, readLinks } from './links.js';
import { withLock } from './lock.js';
import { NAMED_DIR } from './namespace.js';
import { isCurrent } from './netns.js';

/** Where Docker keeps the namespaces of its containers: it makes and removes a file here at each start and stop. */
const DOCKER_DIR = '/run/docker/netns';

/**
 * systemd does not look at the directories while its wormhole-sync.service runs, so that watches them itself, and goes
 * when nothing has happened for so long: a container follows its namespace by less.
 */
const QUIET_MS = 5_000;

/**
 * Compares the namespace that is mounted for each link with the truth, and has systemd mount anew what differs, until
 * nothing has changed for 5 s: what wormhole-sync.service does.
 *
 * @param say takes one line for the journal about each namespace that had changed
 * @throws JobError when systemd cannot restart a unit
 */
export async function followNamespaces(say: (line: string) => void): Promise<void> {
  const systemd = await connectSystemd();
  let changed: (() => void) | undefined;
  let dirty = true;
  const touch = () => {
    dirty = true;
    changed?.();
  };
  const stops: (() => void)[] = [];
  try {
    stops.push(...watchDirectories(touch));
    stops.push(await watchEngine(touch));
    while (dirty) {
      dirty = false;
      await reconcile(systemd, say);
      if (!dirty) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, QUIET_MS);
          changed = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      changed = undefined;
    }
  } finally {
    for (const stop of stops) stop();
    systemd.close();
  }
}

/** One comparison, of all places at once. */
async function reconcile(systemd: Systemd, say: (line: string) => void): Promise<void> {
  const found = readLinks();
  const instances = new Set(
    found.links.flatMap(({ link }) => [netnsInstance(link.head.place), netnsInstance(tailOf(link).place)]),
  );
  instances.delete(undefined);
  await Promise.all([...instances].map((instance) => renew(instance as string, found, systemd, say)));
}

async function renew(
  instance: string,
  found: Links,
  systemd: Systemd,
  say: (line: string) => void,
): Promise<void> {
  const place = placeOfInstance(instance);
  const unit = netnsUnit(place) as string;
  const { active } = await systemd.state(unit);
  if (active === 'active' && (await isCurrent(instance))) return;
  // One that starts at this moment reads the truth itself; one that is stopped has no link that wants it.
  if (active !== 'active' && active !== 'failed') return;
  say(`${describePlace(place)} has another network namespace now: its links move there.`);
  if (active === 'active') await systemd.tryRestart(unit);
  await startHeads(instance, found, systemd);
}

/** systemd restarts the sockets with the namespace, except those that could not start the last time. */
async function startHeads(instance: string, found: Links, systemd: Systemd): Promise<void> {
  const heads = found.links.filter(({ link }) => netnsInstance(link.head.place) === instance);
  for (const { id } of heads) {
    const { active } = await systemd.state(socketUnit(id));
    if (active === 'active') continue;
    await withLock(async () => {
      if (readLinks().links.some((link) => link.id === id)) await systemd.start(socketUnit(id));
    });
  }
}

function watchDirectories(touch: () => void): (() => void)[] {
  const watchers: FSWatcher[] = [];
  for (const directory of [DOCKER_DIR, NAMED_DIR]) {
    if (!existsSync(directory)) continue;
    const watcher = watch(directory, touch);
    watcher.on('error', touch);
    watchers.push(watcher);
  }
  return watchers.map((watcher) => () => watcher.close());
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
