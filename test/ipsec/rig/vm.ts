import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasBooted } from '../../lab/rig/booted.ts';
import { type Container, container } from '../../lab/rig/container.ts';
import { copyIn, copyOut } from '../../lab/rig/copy.ts';
import type { StartOptions } from '../../lab/rig/host.ts';
import { openSession, sessionDirectory, sessionName } from '../../lab/rig/session.ts';
import { finish, type Result, type Running, type RunOptions, removeTree, tail } from '../../lab/rig/shell.ts';
import { type WaitOptions, waitFor } from '../../lab/rig/wait.ts';
import { connectChannel, isConnected, remoteArgv, startRemote } from './channel.ts';
import { installedDisk } from './disk.ts';
import { kernel } from './kernel.ts';
import { onRouter, type Plug, plugIn, setCable, unplug } from './segment.ts';
import { type Machine, powerOn } from './uml.ts';
import { capture, type Frame } from './wire.ts';

/** What kind of virtual machine to boot. */
export interface VmOptions {
  /** Its host name, by which the other machines of the session reach it too. Letters, digits and hyphens. */
  name: string;
  /** Whether Docker runs, with the images wormhole/mysql, wormhole/wordpress and wormhole/tools. Default false. */
  docker?: boolean;
  /** Whether it is behind a router of its own that hides its address: nobody reaches it who is not asked first. Default false. */
  behindNat?: boolean;
}

/**
 * A Debian virtual machine with a kernel that does IPsec and systemd as PID 1. Wormhole is installed, the key is the same on
 * every one.
 */
export interface Vm {
  name: string;
  /** Its own IPv4 address on eth0: in 10.91.0.0/24, behind a router in 10.92.N.0/24. */
  address: string;
  /** Its own IPv6 address on eth0: in fd91::/64, behind a router in fd92:N::/64, which leads nowhere. */
  address6: string;
  /** The IPv4 address by which the others know it: its own, or that of its router. */
  outside: string;
  /** Runs a command as root and waits for it. A string is a command line for bash. It needs no network for it. */
  run(command: string | string[], options?: RunOptions): Promise<Result>;
  /** Starts a command as root and returns at once. */
  spawn(command: string | string[]): Running;
  /** The container `name` on it. */
  container(name: string): Container;
  /** Waits until `condition` returns something true; see `waitFor`. Default 80 s, times SLOWNESS. */
  waitFor<T>(condition: () => T | Promise<T>, options: WaitOptions): Promise<T>;
  /** Copies the file or directory `path` of this machine into the directory `directory` of the virtual one. */
  copyIn(path: string, directory: string): Promise<void>;
  /** Copies the file or directory `path` of the virtual machine into the directory `directory` of this one. */
  copyOut(path: string, directory: string): Promise<void>;
  /** What journalctl prints with these arguments. */
  journal(...args: string[]): Promise<string>;
  /** The units that have failed, one a line as systemctl prints them; empty when there are none. */
  failedUnits(): Promise<string>;
  /** `systemctl reboot`, and waits until it is up again. */
  reboot(options?: StartOptions): Promise<void>;
  /** `systemctl poweroff`; `start` starts it again. */
  shutDown(): Promise<void>;
  /** A power cut: it ends at once, and what was not written to its disk is lost; `start` starts it again. */
  crash(): Promise<void>;
  /** Boots it after `shutDown` or `crash`. */
  start(options?: StartOptions): Promise<void>;
  /** Appends lines to its /etc/hosts. */
  addToHosts(text: string): Promise<void>;
  /** Pulls its network cable out, or puts it back; it stays so over a reboot. */
  setCable(state: 'up' | 'down'): Promise<void>;
  /** The frames that have crossed its eth0 since its first start, in order. */
  frames(): Frame[];
  /** Runs a command line for bash on the router that it is behind; the interfaces are `outside` and `inside`. */
  onRouter(command: string, options?: RunOptions): Promise<Result>;
  /** Ends it for good, at once and with all that it wrote. Does nothing the second time. */
  powerOff(): Promise<void>;
}

const vms = new Map<string, Vm>();

/** The virtual machines of this process that have not been powered off. */
export function bootedVms(): Vm[] {
  return [...vms.values()];
}

/** Those that take part in the others' /etc/hosts. */
const ready = new Set<Vm>();

/** Seconds that a boot may take, times SLOWNESS. */
const bootTimeout = 60;

// The boot may not have come to the network yet, and would then set it up from the new file, which can be done once.
const becomeScript = `
  systemctl start lab-network
  name=$1 hosts=$2 network=$3
  echo "$name" >/etc/hostname
  echo "$hosts" >/etc/hosts
  echo "$network" >/etc/lab/network
  systemctl restart lab-network
  sync
`;

/**
 * Starts a new virtual machine in a few seconds, and waits until systemd says that it is running. When the cache has no disk with Wormhole
 * as it is now, that is made first.
 *
 * Throws when a unit has failed, and when another machine of this process is off. The machine goes when this process
 * ends, however it ends.
 *
 * @example
 * const [alpha, beta] = await Promise.all([bootVm({ name: 'alpha' }), bootVm({ name: 'beta' })]);
 * await alpha.run('ping -c 1 beta');
 * alpha.frames().some(({ bytes }) => bytes.includes('secret'));
 * await alpha.crash();
 * await alpha.start();
 */
export async function bootVm(options: VmOptions): Promise<Vm> {
  const { name, docker = false, behindNat = false } = options;
  if (!/^[a-z0-9][a-z0-9-]{0,20}$/.test(name)) throw new Error(`not a host name: "${name}"`);
  if (vms.has(name)) throw new Error(`virtual machine ${name} is already there`);
  openSession();
  const directory = join(sessionDirectory, name);
  mkdirSync(directory);
  const [program, disk, plug] = await Promise.all([kernel(), installedDisk(), plugIn(name, behindNat)]);
  const hardware = {
    ...{ name, kernel: program, disk, plug, directory, docker },
    group: `${sessionName}/${name}`,
  };
  const wire = await capture(plug, join(directory, 'wire.pcap'));
  let machine: Machine | undefined;
  let isNew = true;

  const isOff = () => !machine || machine.isOff();
  const argvOf = (command: string | string[]) => {
    if (isOff()) throw new Error(`${name} is off`);
    return typeof command === 'string' ? ['bash', '-c', command] : command;
  };
  const enter = (argv: string[]) => remoteArgv(directory, argvOf(argv));
  const show = (command: string | string[]) =>
    `${name}# ${typeof command === 'string' ? command : command.join(' ')}`;

  const vm: Vm = {
    name,
    address: plug.address,
    address6: plug.address6,
    outside: plug.outside,
    run: async (command, runOptions = {}) =>
      finish(startRemote(directory, argvOf(command)), runOptions, show(command)),
    spawn: (command) => startRemote(directory, argvOf(command)),
    container: (containerName) => container(vm.run, containerName),
    waitFor: (condition, { timeout = 80, what }) => waitFor(condition, { timeout, what }),
    copyIn: (path, target) => copyIn(path, target, enter),
    copyOut: (path, target) => copyOut(path, target, enter),
    async journal(...args) {
      // With what processes have said that have just ended.
      const synced = ['sh', '-c', 'timeout 10 journalctl --sync 2>/dev/null; exec "$@"', 'sh'];
      return (await vm.run([...synced, 'journalctl', '--no-pager', ...args])).stdout;
    },
    failedUnits: async () =>
      (await vm.run(['systemctl', '--failed', '--plain', '--no-legend'])).stdout.trim(),
    async start({ allowFailed = false } = {}) {
      if (!isOff()) throw new Error(`${name} is on already`);
      const begin = Date.now();
      machine = await powerOn(hardware);
      void machine.ended.then(connectChannel(directory, plug.aside));
      const screen = join(directory, 'console');
      await waitFor(() => isOff() || isConnected(directory), {
        timeout: bootTimeout,
        what: `${name} to boot`,
      }).catch((error) => {
        throw new Error(`${error.message}\n${tail(readFileSync(screen, 'utf8'), 20)}`);
      });
      if (isNew) await become(vm, plug);
      isNew = false;
      await hasBooted(vm, { isOff, console: screen, timeout: bootTimeout, allowFailed });
      console.log(`${name}: up after ${((Date.now() - begin) / 1000).toFixed(0)} s`);
    },
    async shutDown() {
      await vm.run('systemctl poweroff', { check: false });
      await waitFor(isOff, { timeout: bootTimeout, what: `${name} to shut down` });
    },
    async reboot(startOptions) {
      await vm.run('systemctl reboot', { check: false });
      await waitFor(isOff, { timeout: bootTimeout, what: `${name} to go down for the reboot` });
      await vm.start(startOptions);
    },
    async crash() {
      await machine?.kill();
    },
    async addToHosts(text) {
      await vm.run(['tee', '-a', '/etc/hosts'], { input: text });
    },
    setCable: (state) => setCable(plug, state),
    frames: () => wire.frames(),
    onRouter: (command, runOptions) => onRouter(name, command, runOptions),
    async powerOff() {
      if (vms.get(name) !== vm) return;
      vms.delete(name);
      ready.delete(vm);
      await machine?.kill();
      await wire.stop();
      await unplug(plug);
      removeTree(directory);
    },
  };
  vms.set(name, vm);
  await vm.start();
  const others = [...ready];
  ready.add(vm);
  for (const other of others) {
    await other.addToHosts(hostsLine(vm));
    await vm.addToHosts(hostsLine(other));
  }
  return vm;
}

/** The line by which other machines know `vm`. */
function hostsLine({ outside, address, address6, name }: Vm): string {
  // What is behind a router has no IPv6 address that leads anywhere.
  return `${outside} ${name}\n${outside === address ? `${address6} ${name}\n` : ''}`;
}

/** Gives a machine that has booted for the first time what makes it `vm`. */
async function become(vm: Vm, { configuration }: Plug): Promise<void> {
  const { name, address, address6 } = vm;
  const hosts = `127.0.0.1 localhost\n::1 localhost\n${address} ${name}\n${address6} ${name}`;
  await vm.run(['bash', '-euc', becomeScript, 'bash', name, hosts, configuration]);
}
