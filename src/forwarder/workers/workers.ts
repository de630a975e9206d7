import type { Connection } from '../connection.js';
import { type Counters, countIn, mapCounters, SIZE } from '../counters.js';
import { formatProxyInfo } from '../hand-off/proxy-info.js';
import type { Log } from '../log.js';
import type { Loop } from '../loop.js';
import type { Accepted } from '../serve.js';
import { changeCount, countOpened, formatCount, parseCount, type Sources, sourceOf } from '../sources.js';
import type { PassedDescriptor } from '../store/recover.js';
import { threadOf } from '../store/store.js';
import { block, type Channel, createPair, type Message, MOST_WORDS, openChannel } from './channel.js';
import { printSent } from './log.js';
import {
  ADOPT,
  ANSWERED,
  ASK,
  CLOSED,
  KEPT,
  LINES,
  PING,
  PONG,
  QUIT,
  READY,
  REJECTION,
  SERVE,
  SOURCES,
  STOP,
  STOP_MS,
} from './messages.js';
import { detach } from './pass-on.js';
import { createPicker } from './pick.js';
import { createShared, ENDED, RUNNING, type Shared, sessionsOf, setWaiting, waitForState } from './shared.js';
import { createTally } from './tally.js';

/*
 * The first thread accepts the clients of the link within all limits, and passes the number of each descriptor to a worker: a thread
 * that dials and relays. All threads have the same descriptors, so the number is enough. From then on it is the worker's to close, and
 * the first thread does not use it any more.
 *
 * A worker that dies takes the process with it, as any fault does. The sessions of each are in the store of the service manager under
 * names of their own.
 */

/** How long they may take over those of an earlier process, ms: it takes longer if processes have died early. */
const START_MS = 10_000;

/** How long one may take to end when the process exits, ms. */
const QUIT_MS = 200;

/** What a thread is started with. */
export interface WorkerData {
  /** Which of the workers it is, from 0, and of how many. */
  readonly index: number;
  readonly count: number;
  /** Its end of the channel. */
  readonly channel: number;
  readonly shared: Shared;
  /** The counters of the process; undefined if they are in the file that --counters names. */
  readonly figures: ArrayBufferLike | undefined;
  /** The sessions of an earlier process that it takes over. */
  readonly stored: readonly PassedDescriptor[];
}

/** Starts a thread; `failed` is called when it ends. */
export type StartThread = (data: WorkerData, failed: (error: Error) => void) => void;

export interface WorkersOptions {
  readonly count: number;
  readonly startThread: StartThread;
  readonly loop: Loop;
  readonly log: Log;
  /** The descriptor of the file with the figures of the link. */
  readonly counters: number | undefined;
  /** The sessions of an earlier process. Those of its first thread are not the workers'. */
  readonly stored: readonly PassedDescriptor[];
  /** Counts the connections of each source; undefined if a source may have any number. */
  readonly sources: Sources | undefined;
  /** Called when a session has ended that somebody waits for, and when the last has. */
  readonly onClose: () => void;
  /** Whether {@link WorkersOptions.onClose} is called for every session that has ended, soon after. */
  readonly hearsOfEach: boolean;
  /** Gets what a worker has been told of clients that the machine of the target resets. */
  readonly onRejection: (failure: string) => void;
  /** Asks a resolver; see resolvers.ts. Returns whether a request is pending. */
  readonly refresh: (which: number) => boolean;
}

/** The workers of a forwarder. */
export interface Workers {
  /** What the first thread counts, and what all threads together have counted. */
  readonly counters: Counters;
  readonly totals: Counters;
  /** Has a worker serve an accepted client. */
  take(client: number, accepted: Accepted): void;
  /** Has a worker go on with a connection whose client was offered, and whose target has accepted. */
  adopt(connection: Connection): void;
  /** Their sessions. */
  sessions(): number;
  /** The same; if it is as many as `most`, the first thread hears of the next session that ends. */
  sessionsUpTo(most: number): number;
  /** Whether one has not taken over the sessions of an earlier process yet. */
  areStarting(): boolean;
  /** Tells all of them that a resolver has an answer. */
  answered(which: number): void;
  /** Passes on what has happened in a round of the loop. */
  finishRound(): void;
  /** Blocks until all have taken over the sessions of an earlier process, if there are any. Returns how many these are. */
  waitForResumed(): number;
  /** Calls `answered` when every worker has handled the messages that it has got until now. */
  ping(answered: () => void): void;
  /** Has all of them store their sessions, and relay no more. Returns whether all sessions are stored. */
  stop(): boolean;
  /** Ends the threads, because the process exits. */
  quit(): void;
}

/** A worker, as the first thread knows it. */
interface Worker {
  readonly channel: Channel;
  /** Clients that it has been sent, modulo 2^32. */
  sent: number;
  /** Descriptors and kinds that are sent at the end of the round. */
  queued: number[];
  /** Whether it takes over sessions of an earlier process, and how many these are, when it has said so. */
  readonly isHeir: boolean;
  resumed: number | undefined;
  /** The number of the last ping that it has answered. */
  answered: number;
  /** Whether it has stored its sessions; undefined while it has not said. */
  kept: boolean | undefined;
}

/** Starts the workers. Throws an Error if that is impossible. */
export function startWorkers(options: WorkersOptions): Workers {
  const { count, loop, log, sources, stored } = options;
  const shared = createShared(count);
  setWaiting(shared, options.hearsOfEach);
  const file = options.counters === undefined ? undefined : mapCounters(options.counters, log);
  const memory = file ?? new SharedArrayBuffer(SIZE);
  const tally = createTally(memory, shared);
  const totals = countIn(memory);
  totals.open = 0;
  totals.idleAt = 0;
  let pings = 0;
  let onPong: (() => void) | undefined;
  const all = Array.from({ length: count }, startWorker);
  const load = (index: number): number => sessionsOf(shared, index, (all[index] as Worker).sent);
  const picker = createPicker(count, load);
  const sessions = (): number => all.reduce((sum, _, index) => sum + load(index), 0);

  function startWorker(_: unknown, index: number): Worker {
    const [own, other] = createPair();
    const inherited = stored.filter(({ name }) => isHeirOf(threadOf(name), index));
    const worker: Worker = {
      channel: openChannel(loop, own, (message) => handle(worker, message)),
      sent: 0,
      queued: [],
      isHeir: inherited.length > 0,
      resumed: undefined,
      answered: 0,
      kept: undefined,
    };
    const figures = memory instanceof SharedArrayBuffer ? memory : undefined;
    options.startThread({ index, count, channel: other, shared, figures, stored: inherited }, (error) => {
      throw error;
    });
    return worker;
  }

  /** Whether a worker takes over the sessions of this thread of an earlier process, which may have had more of them. */
  function isHeirOf(thread: number, index: number): boolean {
    return thread > 0 && (thread - 1) % count === index;
  }

  function handle(worker: Worker, { type, words, text }: Message): void {
    const [first = 0, second = 0] = words;
    if (type === LINES) {
      printSent(log, text);
    } else if (type === PONG) {
      worker.answered = first;
      if (all.every(({ answered }) => answered === pings)) onPong?.();
    } else if (type === ASK) {
      if (!options.refresh(first)) worker.channel.send(ANSWERED, [first]);
    } else if (type === REJECTION) {
      options.onRejection(text);
    } else if (type === SOURCES) {
      for (const line of text.split('\n')) {
        const [source, sessions] = parseCount(line) ?? [];
        if (sources !== undefined && source !== undefined && sessions !== undefined)
          changeCount(sources, source, first * sessions);
      }
    } else if (type === KEPT) {
      worker.kept = second === 1;
    } else if (type === READY || type === CLOSED) {
      if (type === READY) worker.resumed = first;
      setWaiting(shared, options.hearsOfEach);
      options.onClose();
    }
  }

  function flush(worker: Worker): void {
    if (worker.queued.length === 0) return;
    worker.channel.send(SERVE, worker.queued);
    worker.queued = [];
  }

  /** Counts the source of a client. Returns what the worker is told of it. */
  function countSource(client: number): string {
    const source = sources && sourceOf(client);
    if (sources === undefined || source === undefined) return '';
    countOpened(sources, source);
    return formatCount(source, 1);
  }

  return {
    counters: tally.counters,
    totals,
    take(client, { isUnix, proxyInfo }) {
      const worker = all[picker.next()] as Worker;
      worker.sent = (worker.sent + 1) | 0;
      const told = countSource(client);
      worker.queued.push(client, isUnix ? 1 : 0);
      if (told === '' && proxyInfo === undefined && worker.queued.length < MOST_WORDS) return;
      const [own, others] = [worker.queued.splice(-2), worker.queued];
      worker.queued = others;
      flush(worker);
      worker.channel.send(
        SERVE,
        own,
        `${told}\n${proxyInfo === undefined ? '' : formatProxyInfo(proxyInfo)}`,
      );
    },
    adopt(connection) {
      const worker = all[picker.next()] as Worker;
      worker.sent = (worker.sent + 1) | 0;
      const told = countSource(connection.client.fd);
      const { words, name } = detach(connection);
      flush(worker);
      worker.channel.send(ADOPT, words, `${told}\n${name}`);
    },
    sessions,
    sessionsUpTo(most) {
      const open = sessions();
      if (open < most) return open;
      setWaiting(shared, true);
      // One may have ended before its worker could know that.
      return sessions();
    },
    answered(which) {
      for (const { channel } of all) channel.send(ANSWERED, [which]);
    },
    areStarting: () => all.some(({ resumed }) => resumed === undefined),
    finishRound() {
      for (const worker of all) flush(worker);
      tally.flush();
    },
    waitForResumed() {
      let resumed = 0;
      for (const [index, worker] of all.entries()) {
        if (!worker.isHeir) continue;
        if (!waitForState(shared, index, RUNNING, START_MS))
          throw new Error(`worker ${index + 1} does not start`);
        worker.channel.read();
        resumed += worker.resumed ?? 0;
      }
      return resumed;
    },
    ping(answered) {
      pings = (pings + 1) | 0;
      onPong = answered;
      for (const { channel } of all) channel.send(PING, [pings]);
    },
    stop() {
      for (const worker of all) {
        flush(worker);
        worker.channel.send(STOP);
      }
      block(STOP_MS, () => {
        // A queue that is full now has room later, and those of several workers get it in any order.
        for (const { channel } of all) {
          channel.flush();
          channel.read();
        }
        return all.every(({ kept }) => kept !== undefined);
      });
      for (const [index, { kept }] of all.entries()) {
        if (kept === undefined)
          log.error(
            'failed',
            `worker ${index + 1} does not answer; its sessions younger than a second are reset`,
          );
      }
      tally.flush();
      return all.every(({ kept }) => kept !== false);
    },
    quit() {
      for (const { channel } of all) channel.send(QUIT);
      for (const [index] of all.entries()) waitForState(shared, index, ENDED, QUIT_MS);
    },
  };
}
