import { mkdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { hasBooted } from '../../lab/rig/booted.ts';
import { type Artefact, cached } from '../../lab/rig/cache.ts';
import { installedLayer } from '../../lab/rig/installed-layer.ts';
import { openSession, sessionDirectory, sessionName } from '../../lab/rig/session.ts';
import { finish, removeTree, run } from '../../lab/rig/shell.ts';
import { waitFor } from '../../lab/rig/wait.ts';
import { type Base, base, parcelSize } from './base.ts';
import { connectChannel, isConnected, startRemote } from './channel.ts';
import { emulatorRecipe, type PowerOptions, powerOn } from './qemu.ts';
import { plugNowhere, unplug } from './segment.ts';

// An emulated machine boots in 15 to 60 seconds, and Wormhole's first command on it takes 8 more. So one has done that once
// and for all, and every other one goes on from how that was then.

/** A machine that was saved; nobody may write to it. */
export interface Snapshot {
  /** What it goes on from: its memory and devices. */
  state: string;
  /** A qcow2 of its disk at that moment. */
  disk: string;
}

/** Runs a command line for bash on the machine that is being prepared. */
type Prepare = (command: string, timeout?: number) => Promise<void>;

/** A {@link Snapshot} and what it is made of. */
interface Recipe {
  name: string;
  recipe: string;
  base: Base;
  docker: boolean;
  /** The disk below its own, and its format. */
  backing: [path: string, format: 'raw' | 'qcow2'];
  /** Where it begins. Default: it boots. */
  state?: string;
  /** A directory whose content is on its second disk, as a tar. */
  layer?: string;
  prepare: (run: Prepare) => Promise<void>;
}

/** Returns a machine, with Docker or without, on which Wormhole is installed; none of its daemons runs. */
export async function installedSnapshot(docker: boolean): Promise<Snapshot> {
  const [booted, layer, image] = await Promise.all([bootedSnapshot(docker), installedLayer(), base()]);
  return snapshot({
    name: `${nameOf(docker)}-installed`,
    recipe: JSON.stringify([booted, layer, String(install)]),
    ...{ base: image, docker, backing: [booted.disk, 'qcow2'], state: booted.state, layer },
    prepare: install,
  });
}

/** Returns a machine that has just booted. */
async function bootedSnapshot(docker: boolean): Promise<Snapshot> {
  const image = await base();
  return snapshot({
    name: nameOf(docker),
    recipe: JSON.stringify([image, await emulatorRecipe()]),
    ...{ base: image, docker, backing: [image.disk, 'raw'] },
    prepare: async () => {},
  });
}

const nameOf = (docker: boolean) => (docker ? 'vm-docker' : 'vm-plain');

async function install(run: Prepare): Promise<void> {
  // udev has looked at the disk when nothing was on it.
  await run('blockdev --flushbufs /dev/vdb; tar -xf /dev/vdb -C /; systemctl daemon-reload', 120);
  // A boot starts what is enabled.
  await run(
    `systemctl list-unit-files --state=enabled --plain --no-legend 'wormhole*' | cut -d' ' -f1 | xargs systemctl start
    systemctl is-system-running --wait`,
    120,
  );
  // What is read from the disk for the first time takes long.
  await run('until wormhole ping; do :; done', 120);
  // What a daemon has in memory or has written, such as what it has drawn at random, would be the same on all machines.
  await run(
    `systemctl stop wormholed.service; while pgrep -x node >/dev/null; do sleep 0.5; done
    rm -rf /var/lib/wormhole`,
    120,
  );
}

async function snapshot(recipe: Recipe): Promise<Snapshot> {
  const artefact: Artefact = {
    name: recipe.name,
    recipe: recipe.recipe,
    make: (path) => makeSnapshot(recipe, path),
    keep: 24,
  };
  const directory = await cached(artefact);
  return { state: join(directory, 'state'), disk: join(directory, 'disk') };
}

async function makeSnapshot(recipe: Recipe, path: string): Promise<void> {
  openSession();
  mkdirSync(path);
  const { name, docker, state, layer } = recipe;
  const directory = join(sessionDirectory, name);
  mkdirSync(directory);
  const disk = join(directory, 'disk');
  await makeOverlay(recipe.backing, disk);
  const plug = await plugNowhere(name);
  const parcel = join(directory, 'parcel');
  if (layer) {
    await run(['tar', '-C', layer, '-cf', parcel, 'usr', 'etc']);
    truncateSync(parcel, parcelSize);
  }
  const hardware = {
    ...{ base: recipe.base, plug, directory, docker, group: `${sessionName}/${name}` },
    ...(layer && { parcel }),
  };
  const power: PowerOptions = state ? { state } : {};
  const emulator = await powerOn(hardware, power);
  const disconnect = connectChannel(directory);
  const command: Prepare = async (line, timeout) => {
    await finish(startRemote(directory, ['bash', '-euc', line]), timeout ? { timeout } : {}, line);
  };
  await waitFor(() => emulator.isOff() || isConnected(directory), {
    timeout: 300,
    what: `${name} to answer`,
  });
  const host = {
    name,
    run: (line: string, options = {}) => finish(startRemote(directory, ['bash', '-c', line]), options, line),
    failedUnits: async () => (await host.run('systemctl --failed --plain --no-legend')).stdout.trim(),
  };
  const screen = join(directory, 'console');
  await hasBooted(host, { isOff: emulator.isOff, console: screen, timeout: 300, allowFailed: false });
  await recipe.prepare(command);
  await command('sync');
  await disconnect();
  // The daemon at the other end of the channel ends, and a new one takes its place that waits for the next connection.
  await waitFor(async () => !(await emulator.hasChannelOpen()), { what: 'the channel to close' });
  await waitFor(() => emulator.hasChannelOpen(), { what: 'the channel to open' });
  await emulator.save(join(path, 'state'));
  await run(['mv', disk, join(path, 'disk')]);
  await unplug(plug);
  removeTree(directory);
}

/** Makes a disk at `path` that is over another one, which nobody may write to then. */
export async function makeOverlay(
  [backing, format]: [path: string, format: 'raw' | 'qcow2'],
  path: string,
): Promise<void> {
  await run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-b', backing, '-F', format, path]);
}
