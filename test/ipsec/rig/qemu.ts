import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { mountControlGroups, removeControlGroup } from '../../lab/rig/control-group.ts';
import { tail } from '../../lab/rig/shell.ts';
import { waitFor } from '../../lab/rig/wait.ts';
import type { Base } from './base.ts';
import type { Plug } from './segment.ts';

/** What a virtual machine is made of. */
export interface Hardware {
  base: Base;
  plug: Plug;
  /** The directory of its state: `disk` is a qcow2 over the base's disk; `console` and the sockets are made there. */
  directory: string;
  /** The tars that its first boot unpacks over the root file system, in order. */
  tars: [string, string];
  /** MiB of memory. */
  memory: number;
  /** Whether Docker is started. */
  docker: boolean;
  /** The control group that it runs in. */
  group: string;
}

/** A virtual machine that has been started. */
export interface Emulator {
  /** Whether it is off, by `kill` or by itself. */
  isOff(): boolean;
  /** Ends it at once, as a power cut would. What it has not written to its disk yet is lost. */
  kill(): Promise<void>;
  /** Sets the link of its eth0; the guest sees the carrier come and go. */
  setLink(up: boolean): Promise<void>;
}

const withoutDocker = ['docker.service', 'docker.socket', 'containerd.service'];

/** What no test needs, and takes a second or more to start where all is emulated. */
const idle = [
  ...['dev-hugepages.mount', 'dev-mqueue.mount', 'sys-kernel-debug.mount', 'sys-kernel-tracing.mount'],
  ...['modprobe@dm_mod.service', 'modprobe@loop.service', 'modprobe@fuse.service', 'modprobe@drm.service'],
  ...['systemd-logind.service', 'systemd-update-utmp.service', 'systemd-update-utmp-runlevel.service'],
];

// AppArmor's user space is not installed, and Docker takes the kernel's word for it that it is.
const kernelArguments = (docker: boolean) =>
  [
    ...['console=ttyS0', 'loglevel=4', 'rw', 'panic=-1', 'mitigations=off', 'apparmor=0', 'net.ifnames=0'],
    ...[...idle, ...(docker ? [] : withoutDocker)].map((unit) => `systemd.mask=${unit}`),
  ].join(' ');

// Without virtio's headers on the tap device nothing is offloaded to it: frames are as long as on a real wire, and have
// their checksums. The machine is emulated, though slower: not every machine that has a /dev/kvm can use it.
function qemuArguments({ base, plug, directory, tars, memory, docker }: Hardware, capture: string): string[] {
  const drive = (file: string, options: string) => ['-drive', `file=${file},if=virtio,${options}`];
  return [
    ...['-machine', 'q35', '-smp', '1', '-m', `${memory}`, '-accel', 'tcg,tb-size=256'],
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
    ...tars.flatMap((tar) => drive(tar, 'format=raw,readonly=on')),
    ...['-netdev', `tap,id=wire,ifname=${plug.tap},script=no,downscript=no,vnet_hdr=off`],
    ...['-device', `virtio-net-pci,id=eth0,netdev=wire,mac=${plug.mac},romfile=`],
    ...['-object', `filter-dump,id=capture,netdev=wire,file=${capture},maxlen=65536`],
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

/**
 * Powers on a virtual machine, and returns as soon as its emulator answers. All frames of its eth0 go to the pcap file
 * `capture`. It ends with this process.
 *
 * Throws when the emulator ends at once, with what it said.
 */
export async function powerOn(hardware: Hardware, capture: string): Promise<Emulator> {
  const { directory, group, plug } = hardware;
  const errors = join(directory, 'qemu.log');
  const log = openSync(errors, 'w');
  const child = spawn(
    'setpriv',
    [
      ...['--pdeathsig=KILL', 'unshare', '--mount', '--propagation=private', 'sh', '-c', startScript, 'sh'],
      ...[group, plug.namespace, ...qemuArguments(hardware, capture)],
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
  return {
    isOff: () => off,
    async kill() {
      removeControlGroup(group);
      await waitFor(() => off, { what: 'the end of the emulator' });
    },
    setLink: (up) => control(socket, { execute: 'set_link', arguments: { name: 'eth0', up } }),
  };
}

/** Has the emulator do one thing, in its protocol: https://www.qemu.org/docs/master/interop/qmp-spec.html */
async function control(socket: string, command: object): Promise<void> {
  const connection = connect(socket);
  const lines = createInterface(connection)[Symbol.asyncIterator]();
  try {
    await once(connection, 'connect');
    await lines.next();
    for (const request of [{ execute: 'qmp_capabilities' }, command]) {
      connection.write(JSON.stringify(request));
      const { value } = await lines.next();
      const answer = JSON.parse(value ?? '{"error":"no answer"}');
      if (!('return' in answer)) throw new Error(`QEMU refused ${JSON.stringify(request)}: ${value}`);
    }
  } finally {
    connection.destroy();
  }
}
