import { existsSync } from 'node:fs';
import { capacityOf } from './capacity.js';
import type { Relay } from './connection.js';
import { createCounters } from './counters.js';
import { createTargetFinder } from './find-target.js';
import { exitWhenIdle } from './idle.js';
import { endIdleSessions } from './idle-sessions.js';
import type { Passed } from './listen.js';
import { createLog } from './log.js';
import { createLoop, run } from './loop.js';
import { createNotify } from './notify.js';
import type { Options } from './options.js';
import { createPool } from './pipes.js';
import { runBulkQueue } from './scheduler.js';
import { move, resetOpenSessions } from './serve.js';
import { createServers } from './servers.js';
import { retryPipeWaiters, retryWaiters } from './shortage.js';
import { createSources } from './sources.js';
import { reportStatus } from './status.js';
import { createStop } from './stop.js';
import { openStore } from './store/open.js';
import { threadOf } from './store/store.js';
import { streams } from './store/streams.js';
import { createTimer, start } from './timers.js';
import { pingWatchdog } from './watchdog.js';
import { countWorkers } from './workers/count.js';
import { TARGET } from './workers/resolvers.js';
import type { Threads } from './workers/threads.js';
import { createWorkerThread } from './workers/worker.js';
import { startWorkers } from './workers/workers.js';
import { exemptZeroWindows } from './zero-window.js';

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
  const count =
    options.workers === undefined || worker ? 0 : countWorkers(options.workers, options.cpuLimits);
  const capacity = capacityOf(options, sockets, count);
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
        servers.resumeAccepting();
        closed();
      },
      hearsOfEach: options.handOff !== undefined,
      onRejection: (failure) => relay.onRejection?.(failure),
      refresh: (which) => finder.refresh(which),
    });
  const finder = createTargetFinder({
    ...{ options, loop, log },
    ofWorker: worker?.resolvers,
    relay: () => relay,
    onAnswer: (which) => {
      if (which === TARGET) servers.retarget();
      workers?.answered(which);
    },
  });
  const pool = createPool(undefined, worker?.count ?? (workers ? FIRST_THREADS_SHARE : 1));
  const survival = openStore({
    ...{ loop, log, pool },
    stored: worker?.stored ?? (workers ? stored.filter(({ name }) => threadOf(name) === 0) : stored),
    maxSessions: capacity.maxStored,
    thread: worker?.thread ?? 0,
  });
  const relay: Relay = {
    ...{ loop, pool, log, sources },
    to: undefined,
    target: '',
    location: options.location,
    access: options.allow,
    device: options.device,
    resolver: finder.resolver,
    restarter: finder.restarter,
    named: finder.named,
    rejections: 0,
    rejectedAt: 0,
    onRejection: undefined,
    targetTimeout: options.toFile === undefined ? undefined : options.peerTimeout,
    clientTimeout: options.allow === undefined ? undefined : options.peerTimeout,
    connections:
      options.toFile === undefined && options.allow === undefined && options.idleTimeout === undefined
        ? undefined
        : new Set(),
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
      servers.resumeAccepting();
      closed();
      stop.closed();
    },
  };
  finder.setFirst(relay);
  exemptZeroWindows(relay);
  if (!worker) {
    relay.counters.notes = survival.notes;
    relay.counters.limit = capacity.limit;
  }
  // This includes exits by an uncaught exception.
  process.on('exit', () => {
    relay.counters.idleAt = 0;
    resetOpenSessions(loop);
    worker?.ended();
    workers?.quit();
  });
  const status = reportStatus(
    relay,
    notify,
    workers && { counters: workers.totals, open: () => relay.open + workers.sessions() },
  );
  const closed = (): void => {
    status.touch();
    // The first thread decides when the process ends.
    if (worker || servers.open() > 0) return;
    quiet();
    // The next client must find a service that starts, because starting it starts the target.
    if (relay.targetFailed()) start(loop.timers, leave, loop.now);
  };
  const servers = createServers({
    ...{ options, sockets, capacity, relay, workers, survival },
    onOpen: status.touch,
    onClose: closed,
  });
  const stop = createStop({
    ...{ relay, servers, notify },
    isFront: options.balance !== undefined,
    keepAll: () => {
      const isKept = workers === undefined || workers.stop();
      return survival.keepAll() && isKept;
    },
  });
  const leave = createTimer(() => {
    servers.acceptPending();
    if (servers.open() === 0) stop.begin('what the target needs could not be started');
  });
  const quiet =
    options.idle === 0 || worker
      ? () => {}
      : exitWhenIdle(loop, {
          after: options.idle,
          open: () => servers.open() + (workers?.areStarting() ? 1 : 0),
          acceptPending: servers.acceptPending,
          exit: () => stop.begin(`idle for ${options.idle / 1000} s`),
          onQuiet: (exitAt) => {
            relay.counters.idleAt = exitAt;
          },
        });
  loop.atRoundEnd = (freedDescriptors) => {
    const hasBulk = runBulkQueue(relay, move);
    retryPipeWaiters(relay, freedDescriptors);
    const hasReplies = servers.finishRound();
    (worker ?? workers)?.finishRound();
    return hasBulk || hasReplies;
  };
  if (relay.connections !== undefined && options.idleTimeout !== undefined)
    endIdleSessions(relay, relay.connections, options.idleTimeout);

  const here = servers.resumeSessions();
  if (worker) {
    worker.run(relay, { resumed: here, keepAll: survival.keepAll });
    return;
  }
  // Clients that wait are accepted when it is known how many there are.
  const resumed = here + (workers?.waitForResumed() ?? 0);
  if (resumed > 0) log.info('resumed', `took over ${resumed} open session${resumed === 1 ? '' : 's'}`);
  pingWatchdog(loop, notify, workers);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.begin(signal));
  run(loop, () => notify('READY=1'));
}
