import { existsSync } from 'node:fs';
import { createFront } from './balance/front.js';
import type { Relay } from './connection.js';
import { createCounters } from './counters.js';
import { connectionsFor, descriptorLimit, FDS_A_WORKER, sessionsFor } from './descriptor-limit.js';
import { serveOffers } from './hand-off/receive.js';
import { exitWhenIdle } from './idle.js';
import { endIdleSessions } from './idle-sessions.js';
import { listen, type Passed } from './listen.js';
import { createLog } from './log.js';
import { createLoop, run } from './loop.js';
import { readNameFile } from './name-file.js';
import { createNamedTargets } from './named-targets.js';
import { createNotify, watchdogInterval } from './notify.js';
import type { Options } from './options.js';
import { createPool } from './pipes.js';
import { createProxyProtocol } from './proxy-protocol/serve.js';
import { createRate } from './rate.js';
import {
  createResolver,
  type Resolution,
  type Resolver,
  type ResolverOptions,
  readAddressFile,
} from './resolver.js';
import { retarget, retargetName, setNamedTarget, setTarget } from './retarget.js';
import { runBulkQueue } from './scheduler.js';
import { move, resetOpenSessions, type Serve, serve } from './serve.js';
import { retryPipeWaiters, retryWaiters } from './shortage.js';
import { createSources } from './sources.js';
import { reportStatus } from './status.js';
import { openStore } from './store/open.js';
import { threadOf } from './store/store.js';
import { resumeConnection, streams } from './store/streams.js';
import { createTimer, start } from './timers.js';
import { datagrams as datagramSessions } from './udp/resume.js';
import { serveDatagrams } from './udp/serve.js';
import { serveUnixDatagrams } from './unix/datagrams.js';
import { servePackets } from './unix/packets.js';
import { countWorkers } from './workers/count.js';
import { RESTARTER, TARGET } from './workers/resolvers.js';
import type { Threads } from './workers/threads.js';
import { createWorkerThread } from './workers/worker.js';
import { startWorkers } from './workers/workers.js';
import { exemptZeroWindows } from './zero-window.js';

/** How long a front forwarder that is stopped goes on handing over the clients that it has accepted, ms. */
const LEAVING_MS = 2000;

/** The most sessions that have notes: these are in a file of 128 bytes for each, and LimitFSIZE= of the unit is 16 MiB. */
const MOST_NOTES = 120_000;

/** The first thread has a pool of this share of the usual one, when workers relay. */
const FIRST_THREADS_SHARE = 8;

/**
 * Forwards in this thread: in the only one; in the first, which accepts clients for workers that `startThread` starts; or in a worker,
 * which `own` is about.
 */
export function forward(
  options: Options,
  { sockets, stored }: Passed,
  { startThread, own }: Threads = {},
): void {
  const loop = createLoop();
  const worker = own && createWorkerThread(own, loop, options.counters);
  const log = worker?.log ?? createLog(options.link, loop.timers);
  const notify = createNotify(worker ? undefined : process.env.NOTIFY_SOCKET, loop.timers);
  const { toFile } = options;
  const named = options.name === undefined ? undefined : createNamedTargets(options.name);
  const readTarget = (file: string) =>
    named ? readNameFile(file, named.name, log) : readAddressFile(file, log);
  const limit = descriptorLimit();
  const count =
    options.workers === undefined || worker ? 0 : countWorkers(options.workers, options.cpuLimits);
  const maxOpen = Math.min(options.maxOpen, connectionsFor(limit - FDS_A_WORKER * count));
  const sources =
    options.maxPerSource === undefined
      ? undefined
      : createSources(options.maxPerSource, {
          tellsChanges: options.handOff !== undefined || own !== undefined,
        });
  const workers =
    startThread &&
    startWorkers({
      ...{ count, startThread, loop, log, stored, sources },
      counters: options.counters,
      onClose: () => {
        listener?.resume();
        closed();
      },
      hearsOfEach: options.handOff !== undefined,
      onRejection: (failure) => relay.onRejection?.(failure),
      refresh: (which) => (which === TARGET ? relay.resolver : relay.restarter)?.refresh() ?? false,
    });
  const resolver = (
    which: number,
    options: ResolverOptions,
    resolved: (answer: Resolution) => void,
  ): Resolver =>
    worker ? worker.resolvers.create(which, options, resolved) : createResolver(loop, log, options, resolved);
  const pool = createPool(undefined, worker?.count ?? (workers ? FIRST_THREADS_SHARE : 1));
  // More than are served at a time: the limit may have been lowered, and sessions that have ended keep their notes for a moment.
  const datagramsStored =
    sockets.datagrams.length === 0 ? 0 : Math.min(options.maxSessions, sessionsFor(limit));
  const survival = openStore({
    ...{ loop, log, pool },
    stored: worker?.stored ?? (workers ? stored.filter(({ name }) => threadOf(name) === 0) : stored),
    maxSessions: Math.min(connectionsFor(limit) + datagramsStored, MOST_NOTES),
    thread: worker?.thread ?? 0,
  });
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
        : resolver(
            TARGET,
            {
              read: () => readTarget(toFile),
              service: options.ask,
              subject: named ? `the addresses of ${named.name}` : 'the far side',
              unit: named ? `wormhole-names@${options.link}.socket` : 'wormhole-far.socket',
            },
            (answer) => {
              (named ? retargetName : retarget)(relay, answer);
              udp?.setTarget(relay.to, relay.target);
              workers?.answered(TARGET);
            },
          ),
    restarter:
      options.restarter &&
      resolver(
        RESTARTER,
        {
          read: () => ({}),
          service: options.restarter,
          subject: 'the start of the target',
          unit: 'wormhole-far.socket',
        },
        () => workers?.answered(RESTARTER),
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
    sources,
    keepAlive: options.keepAlive,
    dialTimeout: options.dialTimeout,
    starter: options.failedFile && `wormhole-${options.link}-run.service`,
    targetFailed: () => options.failedFile !== undefined && existsSync(options.failedFile),
    survivors: survival.store?.register(streams),
    open: 0,
    counters: (worker ?? workers)?.counters ?? createCounters(options.counters, log),
    pipeWaiters: [],
    memoryWaiters: [],
    bulkQueue: [],
    interactiveUntil: 0,
    retryTimer: createTimer(() => retryWaiters(relay)),
    passOn:
      workers &&
      ((connection) => {
        workers.adopt(connection);
        relay.onClose();
      }),
    onOpen: () => {
      worker?.opened(relay);
      status.touch();
    },
    onClose: () => {
      worker?.closed(relay);
      listener?.resume();
      closed();
      if (leavingFor !== undefined && relay.open === 0) exit(leavingFor);
    },
  };
  const open = () =>
    relay.open +
    (workers?.sessions() ?? 0) +
    (udp?.relay.sessions.count ?? 0) +
    (unixDatagrams?.count() ?? 0) +
    (packets?.count() ?? 0) +
    (front?.sessions() ?? 0) +
    (offers?.watching() ?? 0);
  const closed = (): void => {
    status.touch();
    // The first thread decides when the process ends.
    if (worker) return;
    if (open() === 0) quiet();
    // The next client must find a service that starts, because starting it starts the target.
    if (open() === 0 && relay.targetFailed()) start(loop.timers, leave, loop.now);
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
    worker?.ended();
    workers?.quit();
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
    const count = relay.open + (workers?.sessions() ?? 0) + (udp?.relay.sessions.count ?? 0);
    if (count > 0) {
      const sessions = `${count} open session${count === 1 ? '' : 's'}`;
      udp?.outliveAll();
      const fate =
        front === undefined && keepAll()
          ? `${sessions} continue if it is started again, and are reset otherwise`
          : `reset ${sessions}`;
      log.info('stopped', `stopped by ${why}; ${fate}`);
    }
    log.flush();
    notify(`STOPPING=1\nSTATUS=${why}`);
    process.exit(0);
  };
  const keepAll = (): boolean => {
    const isKept = workers === undefined || workers.stop();
    return survival.keepAll() && isKept;
  };
  const leave = createTimer(() => {
    acceptPending();
    if (open() === 0) exit('what the target needs could not be started');
  });
  const status = reportStatus(
    relay,
    notify,
    workers && { counters: workers.totals, open: () => relay.open + workers.sessions() },
  );
  const { datagrams } = sockets;
  const [unixDatagramFd, packetFd] = [sockets.unixDatagrams[0], sockets.packets[0]];
  const maxSessions = Math.min(options.maxSessions, sessionsFor(limit));
  if (!worker) relay.counters.notes = survival.notes;
  // Clients beyond the limit of sessions do not wait, so that limit alone is none to tell of.
  // A front forwarder has no descriptors for the sessions.
  const maxClients = options.balance === undefined ? maxOpen : options.maxOpen;
  if (!worker)
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
  const serveStream: Serve =
    workers === undefined
      ? serve
      : (_, client, accepted) => {
          workers.take(client, accepted);
          status.touch();
        };
  const listener =
    sockets.streams.length === 0
      ? undefined
      : listen(relay, sockets.streams, {
          maxOpen: maxClients,
          open: () =>
            relay.open + (front?.sessions() ?? 0) + (workers?.sessionsUpTo(maxClients - relay.open) ?? 0),
          rate: options.rate === undefined ? undefined : createRate(options.rate, loop.now),
          proxy: createProxyProtocol(options.proxyProtocol, options.acceptProxyProtocol),
          serve:
            front === undefined
              ? serveStream
              : (_, client, { introduction }) => front.take(client, introduction),
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
          elsewhere: () => workers?.sessions() ?? 0,
          onQuiet: () => closed(),
        });
  const quiet =
    options.idle === 0 || worker
      ? () => {}
      : exitWhenIdle(loop, {
          after: options.idle,
          open: () => open() + (workers?.areStarting() ? 1 : 0),
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
    (worker ?? workers)?.finishRound();
    return hasWork;
  };

  if (relay.connections !== undefined && options.idleTimeout !== undefined)
    endIdleSessions(relay, relay.connections, options.idleTimeout);

  const here = survival.resume({
    [streams.code]: (remains) => resumeConnection(relay, remains),
    ...(udp && { [datagramSessions.code]: udp.resume }),
  });
  udp?.resumed();
  if (worker) {
    worker.run(relay, { resumed: here, keepAll: survival.keepAll });
    return;
  }
  // Clients that wait are accepted when it is known how many there are.
  const resumed = here + (workers?.waitForResumed() ?? 0);
  if (resumed > 0) log.info('resumed', `took over ${resumed} open session${resumed === 1 ? '' : 's'}`);

  const every = watchdogInterval(process.env, process.pid);
  if (every !== undefined) {
    const alive = createTimer(() => {
      const isAlive = () => notify('WATCHDOG=1');
      if (workers === undefined) isAlive();
      else workers.ping(isAlive);
      start(loop.timers, alive, loop.now + every);
    });
    start(loop.timers, alive, loop.now);
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => exit(signal));
  run(loop, () => notify('READY=1'));
}
