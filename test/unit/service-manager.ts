import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import koffi from 'koffi';
import {
  AF_UNIX,
  close,
  MSG_CMSG_CLOEXEC,
  MSG_DONTWAIT,
  pinned,
  recvmsg,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  socket,
} from '../../src/forwarder/syscalls.ts';

/*
 * What systemd does for a forwarder that is killed again and again: keeps its file descriptor store (sd_notify(3)), and starts
 * it again with that. To be run in place of the forwarder, with the same arguments and listening sockets:
 *
 *   KILLS    how often the forwarder is killed, then it is left alone
 *   SEED     when it is killed depends on this number. Three of four times it is at a certain system call
 *   AGE      the first time it is not killed before this time, ms
 *   BEGIN    what that time begins with: READY, by default, when the forwarder serves; FDSTORE, when it has stored something
 *            for the first time; or the signal SIGUSR2, when the test says so
 *   PROGRAM  the file of the forwarder
 *   FDSTORE  what the forwarder is told of the store; "0": there is none
 *   CALLS    the system calls at which it is killed, instead of those of a relay of streams
 *   PLAN     at which system calls it is killed instead, one after the other, once the first kill is over: recvmsg:20 is the 20th of them
 *
 * On SIGTERM it waits until the store is empty, for a minute at most, kills the forwarder, prints how often it has killed it, how
 * many descriptors it has ever stored and how many were in the store, and ends.
 */

const { KILLS, SEED, AGE, BEGIN = 'READY', PROGRAM = '', FDSTORE = '64' } = process.env;
const PLAN = process.env.PLAN?.split(' ');

/** The system calls at which the forwarder is killed. */
const CALLS = process.env.CALLS?.split(' ') ?? [
  'splice',
  'epoll_ctl',
  'epoll_wait',
  'shutdown',
  'sendmsg',
  'close',
  'getsockopt',
  'connect',
  'write',
  'pipe2',
];

/** Whether the forwarder has several threads. They take longer to start, and strace has to follow them. */
const isThreaded = process.argv.includes('--workers');

/** The descriptors that are passed on: the listening sockets. */
const listeners = Array.from({ length: Number(process.env.LISTEN_FDS) }, (_, i) => 3 + i);
const stored: { name: string; fd: number }[] = [];
const path = `@wormhole-test-${randomBytes(8).toString('hex')}`;
const notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
const address = pinned(112);
address.bytes.writeUInt16LE(AF_UNIX, 0);
address.bytes.write(`\0${path.slice(1)}`, 2);
koffi.load(null).func('int bind(int, int64_t, uint)')(notify, address.address, 2 + path.length);

const text = pinned(4096);
const control = pinned(4096);
const vector = pinned(16);
const message = pinned(56);
vector.bytes.writeBigUInt64LE(BigInt(text.address), 0);
vector.bytes.writeBigUInt64LE(4096n, 8);

/** Does what the forwarder has asked for. */
function receive(): void {
  for (;;) {
    message.bytes.fill(0);
    message.bytes.writeBigUInt64LE(BigInt(vector.address), 16);
    message.bytes.writeBigUInt64LE(1n, 24);
    message.bytes.writeBigUInt64LE(BigInt(control.address), 32);
    message.bytes.writeBigUInt64LE(4096n, 40);
    // A forwarder that inherited them would keep sockets open that are in no generation any more.
    const size = recvmsg(notify, message.address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0) return;
    const hasDescriptors = message.bytes.readBigUInt64LE(40) > 0n;
    const length = hasDescriptors ? Number(control.bytes.readBigUInt64LE(0)) : 16;
    const descriptors = Array.from(control.words.subarray(4, length / 4));
    const state = text.bytes.toString('utf8', 0, size);
    const name = /^FDNAME=(.*)$/m.exec(state)?.[1] ?? '';
    if (/^READY=1$/m.test(state)) killLater('READY');
    if (/^READY=1$/m.test(state) && kills === Number(KILLS))
      process.stderr.write(`killed ${kills} times, now left alone\n`);
    if (/^FDSTORE=1$/m.test(state)) {
      stored.push(...descriptors.map((fd) => ({ name, fd })));
      everStored += descriptors.length;
      killLater('FDSTORE');
    } else for (const fd of descriptors) close(fd);
    if (/^FDSTOREREMOVE=1$/m.test(state)) {
      for (const entry of stored.filter((other) => other.name === name)) {
        close(entry.fd);
        stored.splice(stored.indexOf(entry), 1);
      }
    }
  }
}

let state = Number(SEED);
function random(below: number): number {
  state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
  return (state >>> 8) % below;
}

let kills = 0;
let everStored = 0;
let child: ChildProcess;
/** When it is killed if it has not come to the system call at which it is. */
let timer: NodeJS.Timeout | undefined;
let isEnding = false;
/** Until when the store may become empty after SIGTERM. */
let drained: number | undefined;

/** Kills the forwarder a while after it has begun to serve, the first time after BEGIN, however long a busy machine takes to start it. */
function killLater(event: string): void {
  if (kills === 0 ? event !== BEGIN || timer !== undefined : event !== 'READY') return;
  const delay = (kills === 0 ? Number(AGE) : 0) + 200 + random(200);
  if (kills < Number(KILLS)) timer = setTimeout(() => child.kill('SIGKILL'), delay);
}

function launch(): void {
  const isLast = kills >= Number(KILLS);
  const chance = [CALLS[random(CALLS.length)], 1 + random(kills % 8 === 1 ? 8 : 60)];
  const [call, when] = PLAN?.[kills - 1]?.split(':') ?? chance;
  const isTraced = !isLast && kills > 0 && (PLAN !== undefined || kills % 4 !== 0);
  const injection = `inject=${call}:signal=KILL:when=${when}`;
  const wrapper = isTraced
    ? [
        'strace',
        '-D',
        ...(isThreaded ? ['-f'] : []),
        '-q',
        '-o',
        '/dev/null',
        '-e',
        `trace=${call}`,
        '-e',
        injection,
      ]
    : [];
  // Names come back in no useful order, and so they do here.
  const passed = stored.slice().reverse();
  const names = [...listeners.map(() => 'listener'), ...passed.map(({ name }) => name)].join(':');
  child = spawn(
    'setpriv',
    [
      '--pdeathsig',
      'KILL',
      ...wrapper,
      'sh',
      '-c',
      // If this process was killed before setpriv had asked for the signal, none comes.
      '[ "$PPID" = "$0" ] || exit; export LISTEN_PID=$$; exec "$@"',
      String(process.pid),
      process.execPath,
      PROGRAM,
      ...process.argv.slice(2),
    ],
    {
      stdio: ['ignore', 'ignore', 2, ...listeners, ...passed.map(({ fd }) => fd)],
      env: {
        PATH: process.env.PATH,
        LISTEN_FDS: String(listeners.length + passed.length),
        LISTEN_FDNAMES: names,
        NOTIFY_SOCKET: path,
        FDSTORE,
      },
    },
  );
  child.once('exit', (status) => {
    clearTimeout(timer);
    receive();
    if (isEnding) return;
    if (status !== null) {
      process.stderr.write(`the forwarder has ended with status ${status}\n`);
      process.exit(1);
    }
    kills += 1;
    launch();
  });
}

function end(): void {
  isEnding = true;
  process.stderr.write(
    `${everStored} descriptors were stored\nkilled ${kills} times, ${stored.length} descriptors in the store\n`,
  );
  child.once('exit', () => process.exit(0));
  child.kill('SIGKILL');
}

process.on('SIGUSR2', () => killLater('SIGUSR2'));
process.on('SIGTERM', () => {
  drained ??= Date.now() + 60_000;
});
setInterval(() => {
  receive();
  if (drained !== undefined && !isEnding && (stored.length === 0 || Date.now() > drained)) end();
}, 2);
launch();
