// Hostile code in the place of a forwarder: tries whatever comes to mind, and tells its target what has worked, as one line of JSON.
//
//   node hostile-forwarder.mjs PLAN    PLAN is JSON, as in hostile-forwarder.test.ts
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  fchmodSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { connect } from 'node:net';
import { constants } from 'node:os';
import koffi from 'koffi';

const plan = JSON.parse(process.argv[2] ?? '{}');
const names = Object.fromEntries(Object.entries(constants.errno).map(([name, number]) => [number, name]));
const libc = koffi.load(null);
const AF_UNSPEC = 0;
const AF_UNIX = 1;
const AF_INET = 2;

/** `ok`, or why a call of the C library has failed. */
const outcome = (result) => (result >= 0 ? 'ok' : (names[koffi.errno()] ?? `errno ${koffi.errno()}`));

const socket = libc.func('int socket(int family, int type, int protocol)');
const connectTo = libc.func('int connect(int fd, void *address, uint length)');
const accept = libc.func('int accept(int fd, void *address, void *length)');
const setsockopt = libc.func('int setsockopt(int fd, int level, int name, void *value, uint length)');
const close = libc.func('int close(int fd)');
const kill = libc.func('int kill(int pid, int signal)');
const syscall = libc.func('long syscall(long number, ...)');

/** Numbers of system calls that the C library has no names for, or that it would not pass on. */
const numbers = {
  x64: {
    add_key: 248,
    bind: 49,
    bpf: 321,
    capset: 126,
    chroot: 161,
    init_module: 175,
    io_uring_setup: 425,
    keyctl: 250,
    listen: 50,
    mount: 165,
    open_by_handle_at: 304,
    perf_event_open: 298,
    pivot_root: 155,
    process_vm_readv: 310,
    ptrace: 101,
    reboot: 169,
    request_key: 249,
    setns: 308,
    setuid: 105,
    swapon: 167,
    umount2: 166,
    unshare: 272,
    userfaultfd: 323,
  },
  arm64: {
    add_key: 217,
    bind: 200,
    bpf: 280,
    capset: 91,
    chroot: 51,
    init_module: 105,
    io_uring_setup: 425,
    keyctl: 219,
    listen: 201,
    mount: 40,
    open_by_handle_at: 265,
    perf_event_open: 241,
    pivot_root: 41,
    process_vm_readv: 270,
    ptrace: 117,
    reboot: 142,
    request_key: 218,
    setns: 268,
    setuid: 146,
    swapon: 224,
    umount2: 39,
    unshare: 97,
    userfaultfd: 282,
  },
}[process.arch];

/** All below a directory: files that can be read, directories in which a file can be made, and sockets. */
function walk(directory, found) {
  let entries = [];
  try {
    entries = readdirSync(directory);
  } catch {
    return found;
  }
  try {
    writeFileSync(`${directory}/hostile`, '');
    found.writable.push(directory);
  } catch {
    // As it should be.
  }
  for (const entry of entries) {
    const path = `${directory === '/' ? '' : directory}/${entry}`;
    if (path === '/proc') continue;
    // What is mounted there, and not what the directory has.
    const kind = lstatSync(path);
    if (kind.isDirectory()) walk(path, found);
    else if (kind.isSocket()) found.sockets.push(path);
    else if (kind.isCharacterDevice() || kind.isBlockDevice()) found.devices.push(path);
    else if (kind.isFile() && canRead(path)) found.readable.push(path);
  }
  return found;
}

function canRead(path) {
  try {
    closeSync(openSync(path, 'r'));
    // In the place of what others are shown, there are empty files.
    return statSync(path).size > 0;
  } catch {
    return false;
  }
}

/** struct sockaddr_un of a path, or of an abstract name written @name. */
function unixAddress(name) {
  const bytes = Buffer.alloc(2 + Buffer.byteLength(name) + (name.startsWith('@') ? 0 : 1));
  bytes.writeUInt16LE(AF_UNIX, 0);
  bytes.write(name, 2);
  if (name.startsWith('@')) bytes[2] = 0;
  return bytes;
}

/** Whether one can connect to a unix socket of either kind: the kinds that work. */
function unixKinds(name) {
  const address = unixAddress(name);
  return Object.entries({ stream: 1, datagram: 2, packets: 5 })
    .filter(([, type]) => {
      const fd = socket(AF_UNIX, type, 0);
      const worked = fd >= 0 && connectTo(fd, address, address.length) === 0;
      if (fd >= 0) close(fd);
      return worked;
    })
    .map(([kind]) => kind)
    .join(' ');
}

function abstractSockets() {
  const table = readFileSync('/proc/self/net/unix', 'utf8');
  return [...new Set([...table.matchAll(/ (@\S+)$/gm)].map(([, name]) => name))];
}

/** struct sockaddr_in. */
function inetAddress(text) {
  const [host, port] = text.split(':');
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(AF_INET, 0);
  bytes.writeUInt16BE(Number(port), 2);
  Buffer.from(host.split('.').map(Number)).copy(bytes, 4);
  return bytes;
}

/** What becomes of a connection to an address, made with a socket that has nothing to say: `ok`, an error, or `silence`. */
function connectInet(fd, text) {
  const second = Buffer.alloc(16);
  second.writeBigInt64LE(1n, 0);
  setsockopt(fd, 1 /* SOL_SOCKET */, 21 /* SO_SNDTIMEO */, second, 16);
  const result = outcome(connectTo(fd, inetAddress(text), 16));
  return result === 'EINPROGRESS' || result === 'EAGAIN' ? 'silence' : result;
}

function ownSocketTo(text) {
  const fd = socket(AF_INET, 1, 0);
  const result = fd < 0 ? outcome(fd) : connectInet(fd, text);
  if (fd >= 0) close(fd);
  return result;
}

/** A connection of a client's, taken apart and turned into one to another address. */
function recycledSocketTo(fd, text) {
  const unspecified = Buffer.alloc(16);
  unspecified.writeUInt16LE(AF_UNSPEC, 0);
  if (connectTo(fd, unspecified, 16) < 0) return `not taken apart: ${outcome(-1)}`;
  return connectInet(fd, text);
}

function sendDatagram(text) {
  const sendto = libc.func(
    'long sendto(int fd, void *bytes, ulong length, int flags, void *address, uint size)',
  );
  const fd = socket(AF_INET, 2, 0);
  const result =
    fd < 0 ? outcome(fd) : outcome(Number(sendto(fd, Buffer.from('x'), 1, 0, inetAddress(text), 16)));
  if (fd >= 0) close(fd);
  return result;
}

/** System calls with arguments that would work for root. */
function forbidden() {
  const call = (name, ...args) =>
    outcome(Number(syscall(numbers[name], ...args.flatMap((arg) => ['long', arg]))));
  return {
    add_key: call('add_key', 0, 0, 0, 0, -3),
    bpf: call('bpf', 0, 0, 0),
    capset: call('capset', 0, 0),
    chroot: call('chroot', 0),
    init_module: call('init_module', 0, 0, 0),
    io_uring_setup: call('io_uring_setup', 1, 0),
    keyctl: call('keyctl', 0, -3, 0),
    mount: call('mount', 0, 0, 0, 0, 0),
    open_by_handle_at: call('open_by_handle_at', 0, 0, 0),
    perf_event_open: call('perf_event_open', 0, 0, -1, -1, 0),
    pivot_root: call('pivot_root', 0, 0),
    process_vm_readv: call('process_vm_readv', process.pid, 0, 0, 0, 0, 0),
    ptrace: call('ptrace', 0, 0, 0, 0),
    ptrace_init: call('ptrace', 16, 1, 0, 0),
    reboot: call('reboot', 0, 0, 0, 0),
    request_key: call('request_key', 0, 0, 0, 0),
    setns: call('setns', 0, 0),
    setuid: call('setuid', 0),
    swapon: call('swapon', 0, 0),
    umount2: call('umount2', 0, 0),
    unshare_user: call('unshare', 0x10000000),
    unshare_net: call('unshare', 0x40000000),
    userfaultfd: call('userfaultfd', 1),
  };
}

function families() {
  const tried = {
    unix: [1, 1, 0],
    ipv4: [2, 1, 0],
    ipv6: [10, 1, 0],
    icmp: [2, 2, 1],
    raw: [2, 3, 255],
    packet: [17, 3, 0],
    netlink: [16, 3, 0],
    vsock: [40, 1, 0],
    crypto: [38, 5, 0],
    bluetooth: [31, 3, 0],
    can: [29, 3, 1],
  };
  return Object.keys(tried).filter((name) => {
    const fd = socket(...tried[name]);
    if (fd >= 0) close(fd);
    return fd >= 0;
  });
}

function listening() {
  const fd = socket(AF_INET, 1, 0);
  const bound = outcome(
    Number(syscall(numbers.bind, 'long', fd, 'void *', inetAddress('0.0.0.0:7999'), 'long', 16)),
  );
  const listens = outcome(Number(syscall(numbers.listen, 'long', fd, 'long', 5)));
  return `${bound} ${listens}`;
}

function run(program, ...args) {
  const { error, status } = spawnSync(program, args, { timeout: 5000 });
  return error?.code ?? `status ${status}`;
}

/** The files that it has open; the kernel's own objects are not among them. */
function openFiles() {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith('/') && path !== '/dev/null' ? [path] : [];
    } catch {
      return [];
    }
  });
}

/** What becomes of the file of its figures, which wormhole list reads: see src/forwarder/counters.ts. */
function figures() {
  const attempt = (work) => {
    try {
      work();
      return 'ok';
    } catch (error) {
      return error.code;
    }
  };
  // What is written beyond the limit ends a process that does not ask otherwise.
  process.on('SIGXFSZ', () => {});
  const bytes = Buffer.alloc(4096);
  bytes.write('wormhole counters 1\nfailing failingSince served open\nfailure\n');
  for (const [index, value] of [2, 8.9e15, Number.NaN, -1].entries())
    bytes.writeDoubleLE(value, 1024 + 8 * index);
  bytes.write('\u001b[2J\u0007evil\u009b\u202e\n'.repeat(40), 3072);
  return {
    written: attempt(() => writeSync(1, bytes, 0, bytes.length, 0)),
    grown: attempt(() => writeSync(1, bytes, 0, bytes.length, 16 * 1024 * 1024)),
    larger: attempt(() => ftruncateSync(1, 1e12)),
    mode: attempt(() => fchmodSync(1, 0o4777)),
  };
}

/** Sends a datagram to a unix socket. */
function sendTo(path, text) {
  const sendto = libc.func(
    'long sendto(int fd, void *bytes, ulong length, int flags, void *address, uint size)',
  );
  const address = unixAddress(path);
  const bytes = Buffer.from(text);
  return outcome(Number(sendto(socket(AF_UNIX, 2, 0), bytes, bytes.length, 0, address, address.length)));
}

const threads = readdirSync('/proc/self/task');
const client = accept(3, null, null);
const seen = walk('/', { readable: [], writable: [], sockets: [], devices: [] });
const proc = readdirSync('/proc');
const report = {
  ...seen,
  absent: plan.paths.filter((path) => {
    try {
      statSync(path);
      return false;
    } catch {
      return true;
    }
  }),
  unix: Object.fromEntries([...seen.sockets, ...plan.unix].map((name) => [name, unixKinds(name)])),
  abstract: Object.fromEntries(abstractSockets().map((name) => [name, unixKinds(name)])),
  own: Object.fromEntries(plan.addresses.map((text) => [text, ownSocketTo(text)])),
  datagrams: Object.fromEntries(plan.addresses.map((text) => [text, sendDatagram(text)])),
  recycled: Object.fromEntries(plan.addresses.map((text) => [text, recycledSocketTo(client, text)])),
  status: sendTo(process.env.NOTIFY_SOCKET, 'STATUS=\u001b[2J\u0007evil\u009b'),
  listening: listening(),
  figures: figures(),
  openFiles: openFiles(),
  families: families(),
  processes: proc.filter((name) => /^\d+$/.test(name) && name !== String(process.pid)),
  proc: proc.filter((name) => !/^\d+$/.test(name)),
  signalled: Array.from({ length: 4000 }, (_, n) => n + 1).filter(
    (pid) => !threads.includes(String(pid)) && kill(pid, 0) === 0,
  ),
  forbidden: forbidden(),
  // In the name of another link, another unit and another user.
  forged: sendTo(
    '/run/systemd/journal/socket',
    'MESSAGE=forged\nSYSLOG_IDENTIFIER=wormhole-other\nWORMHOLE_LINK=other\nUNIT=other.service\n_SYSTEMD_UNIT=other.service\n_UID=0\n_PID=1\nOBJECT_SYSTEMD_UNIT=other.service\nCOREDUMP_UNIT=other.service\n',
  ),
  shell: run('/bin/sh', '-c', 'true'),
  node: run(process.execPath, '-e', '0'),
  environment: Object.keys(process.env).sort(),
  groups: process.getgroups?.().filter((group) => group !== process.getgid?.()),
  capabilities: readFileSync('/proc/self/status', 'utf8').match(/^(Cap|NoNewPrivs|Seccomp):?.*$/gm),
  limits: readFileSync('/proc/self/limits', 'utf8').match(/^Max (core file|file) size.*$/gm),
};
connect({ host: plan.target.split(':')[0], port: Number(plan.target.split(':')[1]) }, function () {
  this.end(`${JSON.stringify(report)}\n`);
});
setInterval(() => {}, 1000);
