import { existsSync } from 'node:fs';
import { createFront } from './balance/front.js';
import type { Relay } from './connection.js';
import { createCounters } from './counters.js';
import { serveOffers } from './hand-off/receive.js';
import { exitWhenIdle } from './idle.js';
import { endIdleSessions } from './idle-sessions.js';
import { listen, type Passed, passedFds } from './listen.js';
import { createLog, printFatal } from './log.js';
import { createLoop, run } from './loop.js';
import { readNameFile } from './name-file.js';
import { createNamedTargets } from './named-targets.js';
import { createNotify, watchdogInterval } from './notify.js';
import { type Options, parseOptions, USAGE } from './options.js';
import { createPool } from './pipes.js';
import { createProxyProtocol } from './proxy-protocol/serve.js';
import { createRate } from './rate.js';
import { createResolver, readAddressFile } from './resolver.js';
import { retarget, retargetName, setNamedTarget, setTarget } from './retarget.js';
import { runBulkQueue } from './scheduler.js';
import { move, resetOpenSessions, serve } from './serve.js';
import { retryPipeWaiters, retryWaiters } from './shortage.js';
import { createSources } from './sources.js';
import { reportStatus } from './status.js';
import { openStore } from './store/open.js';
import { resumeConnection, streams } from './store/streams.js';
import { getrlimit, pinned, poll, RLIMIT_NOFILE } from './syscalls.js';
import { createTimer, start } from './timers.js';
import { datagrams as datagramSessions } from './udp/resume.js';
import { serveDatagrams } from './udp/serve.js';
import { serveUnixDatagrams } from './unix/datagrams.js';
import { servePackets } from './unix/packets.js';
import { exemptZeroWindows } from './zero-window.js';

/*
 * The forwarder: accepts clients on the listening sockets that systemd passes, and relays each of them to the
 * target. The listening sockets belong to the network namespace of the head; the process runs in that of the
 * tail.
 */

/** Exit status for a command line that can never work. */
const BAD_CALL = 2;

/** Exit status when the kernel refuses what the process needs. systemd starts it again. */
const FAILURE = 1;

/** How long a front forwarder that is stopped goes on handing over the clients that it has accepted, ms. */
const LEAVING_MS = 2000;

/** The delay before it exits with one of these, ms. RestartSec= of the unit is short, because open sessions wait. */
const FAILURE_PAUSE_MS = 1000;

/**
 * Descriptors that a connection may need: two sockets, and two pipes of two when both directions are blocked.
 */
const FDS_A_CONNECTION = 6;

/** Descriptors for everything else: about 20 of Node's own, epoll, the listening sockets. */
const FDS_APART = 40;

/** The most sessions that have notes: these are in a file of 128 bytes for each, and LimitFSIZE= of the unit is 16 MiB. */
const MOST_NOTES = 120_000;

main();

function main(): void {
  let options: Options;
  let passed: Passed;
  try {
    options = parseOptions(process.argv.slice(2));
    passed = passedFds(process.env, process.pid);
  } catch (error) {
    printFatal(`wormhole forwarder: ${(error as Error).message}; ${USAGE}`);
    exitPaced(BAD_CALL);
  }
  try {
    forward(options, passed);
  } catch (error) {
    printFatal(`link ${options.link}: the forwarder cannot start: ${(error as Error).message}`, options.link);
    exitPaced(FAILURE);
  }
}

/** Exits because the process cannot start. A service manager starts it again at once, so this keeps that from becoming a storm. */
function exitPaced(status: number): never {
  if (process.env.NOTIFY_SOCKET) poll(0, 0, FAILURE_PAUSE_MS);
  process.exit(status);
}

function forward(options: Options, { sockets, stored }: Passed): void {
  const loop = createLoop();
  const log = createLog(options.link, loop.timers);
  const notify = createNotify(process.env.NOTIFY_SOCKET, loop.timers);
  const { toFile } = options;
  const named = options.name === undefined ? undefined : createNamedTargets(options.name);
  const readTarget = (file: string) =>
    named ? readNameFile(file, named.name, log) : readAddressFile(file, log);
  const limit = descriptorLimit();
  const maxOpen = Math.min(options.maxOpen, connectionsFor(limit));
  const pool = createPool();
  // More than are served at a time: the limit may have been lowered, and sessions that have ended keep their notes for a moment.
  const mostStored =
    connectionsFor(limit) +
    (sockets.datagrams.length === 0 ? 0 : Math.min(options.maxSessions, sessionsFor(limit)));
  const survival = openStore({ loop, log, pool, stored, maxSessions: Math.min(mostStored, MOST_NOTES) });
  const relay: Relay = {
    loop,
    pool,
    log,
    to: undefined,
    target: '',
    location: options.location,
    access: options.allow,
    device: options.device,
    resolver:
      toFile === undefined
        ? undefined
        : createResolver(
            loop,
            log,
            {
              read: () => readTarget(toFile),
              service: options.ask,
              subject: named ? `the addresses of ${named.name}` : 'the far side',
              unit: named ? `wormhole-names@${options.link}.socket` : 'wormhole-far.socket',
            },
            (answer) => {
              (named ? retargetName : retarget)(relay, answer);
              udp?.setTarget(relay.to, relay.target);
            },
          ),
    restarter:
      options.restarter &&
      createResolver(
        loop,
        log,
        {
          read: () => ({}),
          service: options.restarter,
          subject: 'the start of the target',
          unit: 'wormhole-far.socket',
        },
        () => {},
      ),
    named,
    rejections: 0,
    rejectedAt: 0,
    onRejection: undefined,
    targetTimeout: toFile === undefined ? undefined : options.peerTimeout,
    clientTimeout: options.allow === undefined ? undefined : options.peerTimeout,
    connections:
      toFile === undefined && options.allow === undefined && options.idleTimeout === undefined
        ? undefined
        : new Set(),
    sources:
      options.maxPerSource === undefined
        ? undefined
        : createSources(options.maxPerSource, { tellsChanges: options.handOff !== undefined }),
    keepAlive: options.keepAlive,
    dialTimeout: options.dialTimeout,
    starter: options.failedFile && `wormhole-${options.link}-run.service`,
    targetFailed: () => options.failedFile !== undefined && existsSync(options.failedFile),
    survivors: survival.store?.register(streams),
    open: 0,
    counters: createCounters(options.counters, log),
    pipeWaiters: [],
    memoryWaiters: [],
    bulkQueue: [],
    interactiveUntil: 0,
    retryTimer: createTimer(() => retryWaiters(relay)),
    onOpen: () => status.touch(),
    onClose: () => {
      listener?.resume();
      closed();
      if (leavingFor !== undefined && relay.open === 0) exit(leavingFor);
    },
  };
  const open = () =>
    relay.open +
    (udp?.relay.sessions.count ?? 0) +
    (unixDatagrams?.count() ?? 0) +
    (packets?.count() ?? 0) +
    (front?.sessions() ?? 0) +
    (offers?.watching() ?? 0);
  const closed = (): void => {
    if (open() === 0) quiet();
    // The next client must find a service that starts, because starting it starts the target.
    if (open() === 0 && relay.targetFailed()) start(loop.timers, leave, loop.now);
    status.touch();
  };
  const acceptPending = (): void => {
    listener?.acceptPending();
    udp?.readPending();
    unixDatagrams?.readPending();
    packets?.acceptPending();
    offers?.acceptPending();
  };
  if (toFile === undefined) setTarget(relay, options.to);
  else if (named === undefined) setTarget(relay, readTarget(toFile).to);
  else setNamedTarget(relay, readTarget(toFile));
  exemptZeroWindows(relay);
  // This includes exits by an uncaught exception.
  process.on('exit', () => {
    relay.counters.idleAt = 0;
    resetOpenSessions(loop);
  });
  /** Why the process ends as soon as its last client is handed over. */
  let leavingFor: string | undefined;
  const exit = (why: string): void => {
    if (front !== undefined && relay.open > 0 && leavingFor === undefined) {
      leavingFor = why;
      listener?.stop();
      const giveUp = createTimer(() => exit(why));
      start(loop.timers, giveUp, loop.now + LEAVING_MS);
      return;
    }
    const count = relay.open + (udp?.relay.sessions.count ?? 0);
    if (count > 0) {
      const sessions = `${count} open session${count === 1 ? '' : 's'}`;
      udp?.outliveAll();
      const fate =
        front === undefined && survival.keepAll()
          ? `${sessions} continue if it is started again, and are reset otherwise`
          : `reset ${sessions}`;
      log.info('stopped', `stopped by ${why}; ${fate}`);
    }
    log.flush();
    notify(`STOPPING=1\nSTATUS=${why}`);
    process.exit(0);
  };
  const leave = createTimer(() => {
    acceptPending();
    if (open() === 0) exit('what the target needs could not be started');
  });
  const status = reportStatus(relay, notify);
  const { datagrams } = sockets;
  const [unixDatagramFd, packetFd] = [sockets.unixDatagrams[0], sockets.packets[0]];
  const maxSessions = Math.min(options.maxSessions, sessionsFor(limit));
  relay.counters.notes = survival.notes;
  // Clients beyond the limit of sessions do not wait, so that limit alone is none to tell of.
  // A front forwarder has no descriptors for the sessions.
  const maxClients = options.balance === undefined ? maxOpen : options.maxOpen;
  relay.counters.limit =
    sockets.streams.length === 0 ? 0 : maxClients + (datagrams.length === 0 ? 0 : maxSessions);
  const front =
    options.balance === undefined
      ? undefined
      : createFront({
          ...options.balance,
          link: options.link,
          relay,
          isChecked: options.checkEvery !== undefined,
          onChange: () => {
            listener?.resume();
            closed();
          },
        });
  const listener =
    sockets.streams.length === 0
      ? undefined
      : listen(relay, sockets.streams, {
          maxOpen: maxClients,
          open: () => relay.open + (front?.sessions() ?? 0),
          rate: options.rate === undefined ? undefined : createRate(options.rate, loop.now),
          proxy: createProxyProtocol(options.proxyProtocol, options.acceptProxyProtocol),
          serve:
            front === undefined ? serve : (_, client, { introduction }) => front.take(client, introduction),
        });
  const udp =
    datagrams.length === 0
      ? undefined
      : serveDatagrams(datagrams, {
          loop,
          log,
          access: options.allow,
          device: options.device,
          resolver: relay.resolver,
          restarter: relay.restarter,
          named,
          counters: relay.counters,
          starter: relay.starter,
          targetFailed: relay.targetFailed,
          dialTimeout: options.dialTimeout,
          timeout: options.udpTimeout,
          maxSessions,
          survivors: survival.store?.register(datagramSessions),
          onOpen: () => status.touch(),
          onClose: closed,
        });
  udp?.setTarget(relay.to, relay.target);
  // Their target is a unix socket, whose address never changes.
  const messageOptions = relay.to && {
    loop,
    log,
    counters: relay.counters,
    to: relay.to,
    target: relay.target,
    dialTimeout: options.dialTimeout,
    targetFailed: relay.targetFailed,
    starter: relay.starter,
    restarter: relay.restarter,
    onOpen: () => status.touch(),
    onClose: closed,
  };
  const unixDatagrams =
    unixDatagramFd === undefined || messageOptions === undefined
      ? undefined
      : serveUnixDatagrams(unixDatagramFd, { ...messageOptions, timeout: options.udpTimeout, maxSessions });
  const packets =
    packetFd === undefined || messageOptions === undefined || options.handOff !== undefined
      ? undefined
      : servePackets(packetFd, { ...messageOptions, maxOpen });
  const offers =
    packetFd === undefined || options.handOff === undefined
      ? undefined
      : serveOffers(packetFd, {
          relay,
          maxOpen,
          mayRetry: options.handOff === 'retry',
          checkEvery: options.checkEvery,
          onQuiet: () => closed(),
        });
  const quiet =
    options.idle === 0
      ? () => {}
      : exitWhenIdle(loop, {
          after: options.idle,
          open,
          acceptPending,
          exit: () => exit(`idle for ${options.idle / 1000} s`),
          onQuiet: (exitAt) => {
            relay.counters.idleAt = exitAt;
          },
        });
  loop.atRoundEnd = (freedDescriptors) => {
    const hasWork = runBulkQueue(relay, move);
    retryPipeWaiters(relay, freedDescriptors);
    udp?.finishRound();
    offers?.finishRound();
    return hasWork;
  };

  if (relay.connections !== undefined && options.idleTimeout !== undefined)
    endIdleSessions(relay, relay.connections, options.idleTimeout);

  survival.resume({
    [streams.code]: (remains) => resumeConnection(relay, remains),
    ...(udp && { [datagramSessions.code]: udp.resume }),
  });
  udp?.resumed();

  const every = watchdogInterval(process.env, process.pid);
  if (every !== undefined) {
    const alive = createTimer(() => {
      notify('WATCHDOG=1');
      start(loop.timers, alive, loop.now + every);
    });
    start(loop.timers, alive, loop.now);
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => exit(signal));
  run(loop, () => notify('READY=1'));
}

/** The soft limit of file descriptors. Node has raised it to the hard limit, LimitNOFILE= of the unit. */
function descriptorLimit(): number {
  const limit = pinned(16);
  getrlimit(RLIMIT_NOFILE, limit.address);
  return Number(limit.bytes.readBigUInt64LE(0));
}

/**
 * How many connections are certain to progress, whatever their peers do. With fewer descriptors than pipes,
 * two connections could wait for each other.
 */
function connectionsFor(limit: number): number {
  return Math.max(1, Math.floor((limit - FDS_APART) / FDS_A_CONNECTION));
}

/** How many sessions of datagrams there can be, each with a descriptor, without keeping connections from having theirs. */
function sessionsFor(limit: number): number {
  return Math.max(1, Math.floor((limit - FDS_APART) / 2));
}
