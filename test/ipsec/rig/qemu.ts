import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { quote } from 'shlex';
import { mountControlGroups, removeControlGroup } from '../../lab/rig/control-group.ts';
import { run, tail } from '../../lab/rig/shell.ts';
import { waitFor } from '../../lab/rig/wait.ts';
import type { Base } from './base.ts';
import type { Plug } from './segment.ts';

/** What a virtual machine is made of. */
export interface Hardware {
  base: Base;
  plug: Pick<Plug, 'namespace' | 'tap' | 'mac'>;
  /** The directory of its state: `disk` is a qcow2 over the base's disk; `console` and the sockets are made there. */
  directory: string;
  /** What is on its second disk, /dev/vdb: a file of `parcelSize` bytes. Default: nothing. */
  parcel?: string;
  /** Whether Docker is started; it has more memory then. */
  docker: boolean;
  /** The control group that it runs in. */
  group: string;
}

/** How a virtual machine is started. */
export interface PowerOptions {
  /** Where all frames of its eth0 go, as a pcap file. Default: nowhere. */
  capture?: string;
  /** What an {@link Emulator.save} of the same hardware wrote: it goes on from there instead of booting. */
  state?: string;
}

/** A virtual machine that has been started. */
export interface Emulator {
  /** Whether it is off, by `kill` or by itself. */
  isOff(): boolean;
  /** Ends it at once, as a power cut would. What it has not written to its disk yet is lost. */
  kill(): Promise<void>;
  /** Sets the link of its eth0; the guest sees the carrier come and go. */
  setLink(up: boolean): Promise<void>;
  /** Whether a program of the guest has the port of the channel open. */
  hasChannelOpen(): Promise<boolean>;
  /** Ends it, and writes to the file `path` how it was: its memory and devices, for which its disk stays as it is. */
  save(path: string): Promise<void>;
}

const withoutDocker = ['docker.service', 'docker.socket', 'containerd.service'];

/** What no test needs, and takes a second or more to start where all is emulated. */
const idle = [
  ...['dev-hugepages.mount', 'dev-mqueue.mount', 'sys-kernel-debug.mount', 'sys-kernel-tracing.mount'],
  ...['modprobe@dm_mod.service', 'modprobe@loop.service', 'modprobe@fuse.service', 'modprobe@drm.service'],
  ...['systemd-logind.service', 'systemd-update-utmp.service', 'systemd-update-utmp-runlevel.service'],
  ...['modprobe@configfs.service', 'sys-kernel-config.mount', 'systemd-sysusers.service'],
  ...['systemd-random-seed.service', 'systemd-modules-load.service'],
];

// AppArmor's user space is not installed, and Docker takes the kernel's word for it that it is. Programs stay where they are:
// QEMU translates code again that is at another address than before. The clock stays the time stamp counter, which is right
// here, also where a busy machine makes it look as if it were not: reading any other one takes much longer.
const kernelArguments = (docker: boolean): string =>
  [
    ...['console=ttyS0', 'loglevel=4', 'rw', 'panic=-1', 'mitigations=off', 'apparmor=0', 'net.ifnames=0'],
    ...['norandmaps', '8250.nr_uarts=1', 'tsc=reliable'],
    ...[...idle, ...(docker ? [] : withoutDocker)].map((unit) => `systemd.mask=${unit}`),
  ].join(' ');

// Without virtio's headers on the tap device nothing is offloaded to it: frames are as long as on a real wire, and have
// their checksums. The machine is emulated, though slower: not every machine that has a /dev/kvm can use it.
function qemuArguments(hardware: Hardware, { capture, state }: PowerOptions): string[] {
  const { base, plug, directory, parcel = base.emptyParcel, docker } = hardware;
  const drive = (file: string, options: string) => ['-drive', `file=${file},if=virtio,${options}`];
  return [
    // dockerd and MariaDB take 300 MiB together.
    ...['-machine', 'q35', '-smp', '1', '-m', docker ? '1280' : '640', '-accel', 'tcg,tb-size=256'],
    // AVX takes longer to emulate than to do without: node starts a fifth faster. svm would have kvm loaded.
    ...['-cpu', 'qemu64,-svm'],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...[
      '-serial',
      `file:${join(directory, 'console')}`,
      '-qmp',
      `unix:${join(directory, 'qmp')},server=on,wait=off`,
    ],
    ...['-kernel', base.kernel, '-initrd', base.initrd, '-append', kernelArguments(docker)],
    ...drive(join(directory, 'disk'), 'format=qcow2,cache=writeback'),
    ...drive(parcel, 'format=raw,readonly=on'),
    ...['-netdev', `tap,id=wire,ifname=${plug.tap},script=no,downscript=no,vnet_hdr=off`],
    ...['-device', `virtio-net-pci,id=eth0,netdev=wire,mac=${plug.mac},romfile=`],
    ...(capture ? ['-object', `filter-dump,id=capture,netdev=wire,file=${capture},maxlen=65536`] : []),
    ...(state ? ['-incoming', `exec:cat ${quote(state)}`] : []),
    ...['-device', 'virtio-rng-pci', '-device', 'virtio-serial-pci'],
    ...['-chardev', `socket,id=channel,path=${join(directory, 'channel')},server=on,wait=off`],
    ...['-device', 'virtserialport,chardev=channel,name=lab'],
  ];
}

const startScript = `
  set -eu
  group=$1 namespace=$2; shift 2
  ${mountControlGroups}
  mkdir -p "/sys/fs/cgroup/$group"
  echo 0 > "/sys/fs/cgroup/$group/cgroup.procs"
  exec nsenter --net="/run/netns/$namespace" qemu-system-x86_64 "$@"
`;

/** All that decides how a saved state has to be read, as text, for the cache key. */
export async function emulatorRecipe(): Promise<string> {
  const { stdout } = await run(['qemu-system-x86_64', '--version']);
  const nothing = { kernel: '', initrd: '', disk: '', emptyParcel: '' };
  const hardware = { base: nothing, plug: { namespace: '', tap: '', mac: '' }, directory: '', group: '' };
  return JSON.stringify([stdout, [true, false].map((docker) => qemuArguments({ ...hardware, docker }, {}))]);
}

/**
 * Powers on a virtual machine, and returns as soon as its emulator answers. It ends with this process.
 *
 * Throws when the emulator ends at once, with what it said.
 */
export async function powerOn(hardware: Hardware, options: PowerOptions = {}): Promise<Emulator> {
  const { directory, group, plug } = hardware;
  const errors = join(directory, 'qemu.log');
  const log = openSync(errors, 'w');
  const child = spawn(
    'setpriv',
    [
      ...['--pdeathsig=KILL', 'unshare', '--mount', '--propagation=private', 'sh', '-c', startScript, 'sh'],
      ...[group, plug.namespace, ...qemuArguments(hardware, options)],
    ],
    { detached: true, stdio: ['ignore', log, log] },
  );
  // Not even a machine that a test forgot keeps this process from ending.
  child.unref();
  closeSync(log);
  let off = false;
  child.on('exit', () => {
    removeControlGroup(group);
    off = true;
  });
  const socket = join(directory, 'qmp');
  await waitFor(() => off || existsSync(socket), { what: 'the emulator to start' });
  if (off) throw new Error(`the emulator ended at once:\n${tail(readFileSync(errors, 'utf8'), 20)}`);
  if (options.state) await resume(socket);
  return {
    isOff: () => off,
    async kill() {
      removeControlGroup(group);
      await waitFor(() => off, { what: 'the end of the emulator' });
    },
    async setLink(up) {
      await control(socket, { execute: 'set_link', arguments: { name: 'eth0', up } });
    },
    async hasChannelOpen() {
      const devices = (await control(socket, { execute: 'query-chardev' })) as CharacterDevice[];
      return devices.some((device) => device.label === 'channel' && device['frontend-open']);
    },
    async save(path) {
      await control(socket, { execute: 'stop' });
      const parameters = { 'max-bandwidth': 10_000_000_000 };
      await control(socket, { execute: 'migrate-set-parameters', arguments: parameters });
      await control(socket, { execute: 'migrate', arguments: { uri: `exec:cat > ${quote(path)}` } });
      await waitFor(
        async () => {
          const { status } = (await control(socket, { execute: 'query-migrate' })) as { status: string };
          if (status === 'failed') throw new Error('QEMU could not save the machine');
          return status === 'completed';
        },
        { timeout: 120, what: 'the machine to be saved' },
      );
      await control(socket, { execute: 'quit' });
      await waitFor(() => off, { what: 'the end of the emulator' });
    },
  };
}

/** Has a machine go on as soon as its state has been read. It was saved while it stood still, and so it stands still. */
async function resume(socket: string): Promise<void> {
  const isRead = async () => {
    const { status } = (await control(socket, { execute: 'query-status' })) as { status: string };
    return status === 'paused';
  };
  await waitFor(isRead, { what: "the machine's state to be read" });
  await control(socket, { execute: 'cont' });
}

/** What `query-chardev` tells of a device. */
interface CharacterDevice {
  label: string;
  'frontend-open': boolean;
}

/**
 * Has the emulator do one thing, in its protocol: https://www.qemu.org/docs/master/interop/qmp-spec.html
 *
 * Returns what the emulator does.
 */
async function control(socket: string, command: object): Promise<unknown> {
  const connection = connect(socket);
  const lines = createInterface(connection)[Symbol.asyncIterator]();
  try {
    await once(connection, 'connect');
    await lines.next();
    let answer: { return?: unknown; event?: string } = {};
    for (const request of [{ execute: 'qmp_capabilities' }, command]) {
      connection.write(JSON.stringify(request));
      do {
        const { value } = await lines.next();
        answer = JSON.parse(value ?? '{"error":"no answer"}');
      } while (answer.event);
      if (!('return' in answer))
        throw new Error(`QEMU refused ${JSON.stringify(request)}: ${JSON.stringify(answer)}`);
    }
    return answer.return;
  } finally {
    connection.destroy();
  }
}
