import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasBooted } from './booted.ts';
import { type Container, container } from './container.ts';
import { copyIn, copyOut } from './copy.ts';
import { makeDisk } from './disk.ts';
import { dockerStore } from './docker-store.ts';
import { type Machine, powerOn } from './machine.ts';
import { plugIn, removeNamespaces, setCable } from './network.ts';
import type { RootfsOptions } from './rootfs.ts';
import { openSession, sessionDirectory, sessionName } from './session.ts';
import { type Result, type Running, type RunOptions, removeTree, run, start } from './shell.ts';
import { type WaitOptions, waitFor } from './wait.ts';

/** What kind of host to boot. */
export interface HostOptions extends RootfsOptions {
  /** Its host name, by which the other hosts of the session reach it too. Letters, digits and hyphens. */
  name: string;
  /** Whether Docker is installed and running. Default true. */
  docker?: boolean;
  /** Whether Docker has the images wormhole/mysql, wormhole/wordpress and wormhole/tools. Default true. */
  images?: boolean;
  /** Whether Wormhole is installed, as install.sh --listen would, with a key of the host's own. Default false. */
  wormhole?: boolean;
}

/**
 * A Debian host with systemd as PID 1. The repository is at /src/wormhole, read-only; `node` and `npm` are those
 * that run the test. There is no way out of the network that it shares with the other hosts of this process.
 */
export interface Host {
  name: string;
  /** Its IPv4 address on eth0, in 10.90.0.0/24. */
  address: string;
  /** Its IPv6 address on eth0, in fd90::/64. */
  address6: string;
  /** Its network namespace, as ip-netns(8) of this machine names it. */
  namespace: string;
  /** Runs a command as root and waits for it. A string is a command line for bash. */
  run(command: string | string[], options?: RunOptions): Promise<Result>;
  /** Starts a command as root and returns at once. */
  spawn(command: string | string[]): Running;
  /** The container `name` on it. */
  container(name: string): Container;
  /** Waits until `condition` returns something true; see `waitFor`. */
  waitFor<T>(condition: () => T | Promise<T>, options: WaitOptions): Promise<T>;
  /** Copies the file or directory `path` of this machine into the directory `directory` of the host. */
  copyIn(path: string, directory: string): Promise<void>;
  /** Copies the file or directory `path` of the host into the directory `directory` of this machine. */
  copyOut(path: string, directory: string): Promise<void>;
  /** What journalctl prints with these arguments; works for a host that is off, too. */
  journal(...args: string[]): Promise<string>;
  /** The units that have failed, one a line as systemctl prints them; empty when there are none. */
  failedUnits(): Promise<string>;
  /** `systemctl reboot`, and waits until it is up again. */
  reboot(options?: StartOptions): Promise<void>;
  /** `systemctl poweroff`; `start` starts it again. */
  shutDown(): Promise<void>;
  /** A power cut: every process ends at once; `start` starts it again. */
  crash(): Promise<void>;
  /** Boots it after `shutDown` or `crash`. */
  start(options?: StartOptions): Promise<void>;
  /** Appends lines to its /etc/hosts, whether it is on or off. */
  addToHosts(text: string): Promise<void>;
  /** Pulls its network cable out, or puts it back. */
  setCable(state: 'up' | 'down'): Promise<void>;
  /** Ends it for good, at once and with all that it wrote. Does nothing the second time. */
  powerOff(): Promise<void>;
}

/** How to boot a host that was off. */
export interface StartOptions {
  /** Do not throw when units have failed after the boot. Default false. */
  allowFailed?: boolean;
}

const hosts = new Map<string, Host>();

/** The hosts of this process that have not been powered off. */
export function bootedHosts(): Host[] {
  return [...hosts.values()];
}

/**
 * Boots a new host, in about two seconds when the cache is warm, and waits until systemd says that it is running.
 *
 * Throws when a unit has failed. The host goes when this process ends, however it ends.
 *
 * @example
 * const host = await boot({ name: 'box' });
 * await host.run('docker run -d --name db --restart always --network none wormhole/mysql');
 * const ask = () => host.container('db').runInNetwork('mysql -u root -h 127.0.0.1 -e "select 1"');
 * await host.waitFor(ask, { what: 'the database' });
 * await host.reboot();
 * await host.waitFor(ask, { what: 'the database after the reboot' });
 * await host.powerOff();
 */
export async function boot(options: HostOptions): Promise<Host> {
  const { name, docker = true, images = docker, wormhole = false, packages, release } = options;
  if (!/^[a-z0-9][a-z0-9-]{0,40}$/.test(name)) throw new Error(`not a host name: "${name}"`);
  if (hosts.has(name)) throw new Error(`host ${name} is already there`);
  openSession();
  const store = images ? await dockerStore() : undefined;
  const plug = await plugIn(sessionName, name);
  const line = `${plug.address} ${name}\n${plug.address6} ${name}\n`;
  const others = [...hosts.values()];
  const directory = join(sessionDirectory, name);
  const disk = await makeDisk(directory, {
    name,
    hosts:
      line + others.map((host) => `${host.address} ${host.name}\n${host.address6} ${host.name}\n`).join(''),
    ...{ docker, wormhole, ...(packages && { packages }), ...(release && { release }) },
    ...(store && { store }),
  });
  const group = `${sessionName}/${name}`;
  let machine: Machine | undefined;

  const enter = (command: string | string[]) => {
    if (!machine || machine.isOff()) throw new Error(`${name} is off`);
    return machine.enter(typeof command === 'string' ? ['bash', '-c', command] : command);
  };
  const show = (command: string | string[]) =>
    `${name}# ${typeof command === 'string' ? command : command.join(' ')}`;
  const isOff = () => !machine || machine.isOff();

  const host: Host = {
    name,
    address: plug.address,
    address6: plug.address6,
    namespace: plug.namespace,
    run: async (command, runOptions) => run(enter(command), runOptions, show(command)),
    spawn: (command) => start(enter(command)),
    container: (containerName) => container(host.run, containerName),
    waitFor,
    copyIn: (path, target) => copyIn(path, target, enter),
    copyOut: (path, target) => copyOut(path, target, enter),
    async journal(...args) {
      const command = ['journalctl', '--no-pager', ...args];
      const where = ['--directory', join(directory, 'upper/var/log/journal')];
      if (isOff()) return (await run([...command, ...where])).stdout;
      // With what processes have said that have just ended.
      const synced = ['sh', '-c', 'timeout 10 journalctl --sync 2>/dev/null; exec "$@"', 'sh'];
      return (await run(enter([...synced, ...command]))).stdout;
    },
    failedUnits: async () =>
      (await host.run(['systemctl', '--failed', '--plain', '--no-legend'])).stdout.trim(),
    async start({ allowFailed = false } = {}) {
      if (!isOff()) throw new Error(`${name} is on already`);
      machine = await powerOn(group, plug.namespace, disk);
      await hasBooted(host, { isOff, console: join(directory, 'console'), timeout: 120, allowFailed });
    },
    async shutDown() {
      await host.run('systemctl poweroff', { check: false });
      await waitFor(isOff, { timeout: 120, what: `${name} to shut down` });
    },
    async reboot(startOptions) {
      await host.run('systemctl reboot', { check: false });
      await waitFor(isOff, { timeout: 120, what: `${name} to go down for the reboot` });
      await host.start(startOptions);
    },
    async crash() {
      await machine?.kill();
    },
    async addToHosts(text) {
      if (isOff()) appendFileSync(join(directory, 'upper/etc/hosts'), text);
      else await host.run(['tee', '-a', '/etc/hosts'], { input: text });
    },
    setCable: (state) => setCable(sessionName, plug, state),
    async powerOff() {
      if (hosts.get(name) !== host) return;
      hosts.delete(name);
      await machine?.kill();
      removeNamespaces(plug.namespace);
      removeTree(directory);
    },
  };
  hosts.set(name, host);
  await host.start();
  for (const other of others) await other.addToHosts(line);
  return host;
}
