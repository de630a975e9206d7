import { existsSync } from 'node:fs';
import type { Relay } from './connection.js';
import { aim, follow } from './follow.js';
import { createGuide, readAnswer } from './guide.js';
import { exitWhenIdle } from './idle.js';
import { listen, listenFds } from './listen.js';
import { createLog, printFatal } from './log.js';
import { createLoop, run } from './loop.js';
import { createNotify, watchdogInterval } from './notify.js';
import { type Options, parseOptions, USAGE } from './options.js';
import { sparePausedReaders } from './patience.js';
import { createPool } from './pipes.js';
import { feedStarved, wakeStarved } from './starve.js';
import { keepStatus } from './status.js';
import { getrlimit, pinned, RLIMIT_NOFILE } from './syscalls.js';
import { move, resetOpenSessions } from './tcp.js';
import { start, timer } from './timers.js';
import { takeTurns } from './turns.js';

/*
 * The forwarder: accepts clients on the listening sockets that systemd passes and relays each to the target. The
 * listening sockets are those of the head's network namespace, the process itself runs in the tail's.
 */

/** Exit status of a call that cannot work, however often it is repeated. */
const BAD_CALL = 2;

/** Descriptors a connection may need: two sockets, and two pipes of two when both directions are held up. */
const FDS_A_CONNECTION = 6;

/** Descriptors for everything else: Node's own (about 20), epoll, the listeners. */
const FDS_APART = 40;

main();

function main(): void {
  let options: Options;
  let listeners: number[];
  try {
    options = parseOptions(process.argv.slice(2));
    listeners = listenFds(process.env, process.pid);
  } catch (error) {
    printFatal(`wormhole forwarder: ${(error as Error).message}; ${USAGE}`);
    process.exit(BAD_CALL);
  }
  forward(options, listeners);
}

function forward(options: Options, listeners: number[]): void {
  const loop = createLoop();
  const log = createLog(options.link, loop.timers);
  const notify = createNotify(process.env.NOTIFY_SOCKET, loop.timers);
  const { toFile } = options;
  const relay: Relay = {
    loop,
    pool: createPool(),
    log,
    to: undefined,
    target: '',
    place: options.place,
    guard: options.allow,
    device: options.device,
    guide:
      toFile === undefined
        ? undefined
        : createGuide(loop, log, toFile, options.ask, (answer) => follow(relay, answer)),
    targetSilence: toFile === undefined ? undefined : options.peerTimeout,
    clientSilence: options.allow === undefined ? undefined : options.peerTimeout,
    connections: toFile === undefined && options.allow === undefined ? undefined : new Set(),
    dialTimeout: options.dialTimeout,
    hopeless: () => options.givenUp !== undefined && existsSync(options.givenUp),
    open: 0,
    served: 0,
    bytes: 0,
    starved: [],
    memoryless: [],
    turns: [],
    smallUntil: 0,
    starvedTimer: timer(() => wakeStarved(relay)),
    onOpen: () => status.touch(),
    onClose: () => {
      door.resume();
      if (relay.open === 0) quiet();
      // Whoever comes now is to find a service that starts, and with it what it needs.
      if (relay.open === 0 && relay.hopeless()) start(loop.timers, leave, loop.now);
      status.touch();
    },
  };
  aim(relay, toFile === undefined ? options.to : readAnswer(toFile, log).to);
  sparePausedReaders(relay);
  // Also when an error ends the process.
  process.on('exit', () => resetOpenSessions(loop));
  const exit = (why: string): void => {
    if (relay.open > 0) {
      log.info(`stopped by ${why}; reset ${relay.open} open session${relay.open === 1 ? '' : 's'}`);
    }
    log.flush();
    notify(`STOPPING=1\nSTATUS=${why}`);
    process.exit(0);
  };
  const leave = timer(() => {
    door.knock();
    if (relay.open === 0) exit('what the target needs could not be started');
  });
  const status = keepStatus(relay, notify);
  const door = listen(relay, listeners, Math.min(options.maxOpen, connectionsFor(descriptorLimit())));
  const quiet =
    options.idle === 0
      ? () => {}
      : exitWhenIdle(relay, door, options.idle, () => exit(`idle for ${options.idle / 1000} s`));
  loop.atRoundEnd = (freedDescriptors) => {
    const hasWork = takeTurns(relay, move);
    feedStarved(relay, freedDescriptors);
    return hasWork;
  };

  const every = watchdogInterval(process.env, process.pid);
  if (every !== undefined) {
    const alive = timer(() => {
      notify('WATCHDOG=1');
      start(loop.timers, alive, loop.now + every);
    });
    start(loop.timers, alive, loop.now);
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => exit(signal));
  run(loop, () => notify('READY=1'));
}

/** Soft limit of file descriptors. Node has raised it to the hard limit, LimitNOFILE= of the unit, by now. */
function descriptorLimit(): number {
  const limit = pinned(16);
  getrlimit(RLIMIT_NOFILE, limit.address);
  return Number(limit.bytes.readBigUInt64LE(0));
}

/**
 * How many connections can all go on at once, whatever their peers do: with fewer descriptors than pipes, two
 * connections could wait for each other's.
 */
function connectionsFor(limit: number): number {
  return Math.max(1, Math.floor((limit - FDS_APART) / FDS_A_CONNECTION));
}
