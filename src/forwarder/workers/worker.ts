import type { Relay } from '../connection.js';
import { type Counters, countIn, mapCounters } from '../counters.js';
import { parseProxyInfo } from '../hand-off/proxy-info.js';
import { type Loop, runInThread } from '../loop.js';
import { serve } from '../serve.js';
import { formatCount, parseCount, type Source } from '../sources.js';
import type { PassedDescriptor } from '../store/recover.js';
import { block, type Message, openChannel } from './channel.js';
import { createWorkerLog, type WorkerLog } from './log.js';
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
import { adopt } from './pass-on.js';
import { createWorkerResolvers, type WorkerResolvers } from './resolvers.js';
import { ENDED, isWaiting, noteOpen, noteTaken, RUNNING, setState } from './shared.js';
import { createTally } from './tally.js';
import type { WorkerData } from './workers.js';

/** What a thread that relays has in place of what the first thread has. */
export interface WorkerThread {
  readonly log: WorkerLog;
  readonly counters: Counters;
  readonly resolvers: WorkerResolvers;
  /** Its number, from 1, and the number of workers. */
  readonly thread: number;
  readonly count: number;
  /** The sessions of an earlier process that it takes over. */
  readonly stored: readonly PassedDescriptor[];
  /** To be called when a client has been taken, and when a session has ended. */
  opened(relay: Relay): void;
  closed(relay: Relay): void;
  /** Passes on what has happened in a round of the loop. */
  finishRound(): void;
  /** Tells that the thread ends. */
  ended(): void;
  /**
   * Serves the clients that the first thread passes on, until that one wants no more. `keepAll` stores the sessions and returns
   * whether it did; `resumed` is the number of those that go on.
   */
  run(relay: Relay, sessions: { resumed: number; keepAll: () => boolean }): void;
}

/** Creates what a worker needs before its relay. `file` is the descriptor of the file with the figures of the link. */
export function createWorkerThread(data: WorkerData, loop: Loop, file: number | undefined): WorkerThread {
  const { index, count, shared, figures, stored } = data;
  const log = createWorkerLog();
  const memory = figures ?? (file === undefined ? undefined : mapCounters(file, log));
  const tally = memory === undefined ? undefined : createTally(memory, shared);
  let ask = (_: number): void => {};
  const resolvers = createWorkerResolvers(loop, (which) => ask(which));
  let finishRound = (): void => {};
  let hasClosed = false;
  return {
    ...{ log, count, stored, resolvers },
    thread: index + 1,
    counters: tally?.counters ?? countIn(),
    opened: ({ open }) => noteOpen(shared, index, open),
    closed({ open }) {
      noteOpen(shared, index, open);
      hasClosed = true;
    },
    finishRound: () => finishRound(),
    ended() {
      tally?.flush();
      setState(shared, index, ENDED);
    },
    run(relay, { resumed, keepAll }) {
      let isEnding = false;
      /** How many connections of each source the first thread knows of. */
      const known = new Map<Source, number>();
      const channel = openChannel(loop, data.channel, (message) => {
        if (!isEnding) handle(message);
      });
      ask = (which) => channel.send(ASK, [which]);
      const handle = ({ type, words, text }: Message): void => {
        if (type === SERVE) {
          serveClients(words, text);
        } else if (type === ADOPT) {
          const [told = '', name = ''] = text.split('\n');
          noteKnown(told);
          adopt(relay, { words, name });
          noteTaken(shared, index);
        } else if (type === PING) {
          channel.send(PONG, words);
        } else if (type === ANSWERED) {
          resolvers.answered(words[0] as number);
        } else if (type === STOP) {
          const kept = relay.open === 0 || keepAll();
          finishRound();
          channel.send(KEPT, [relay.open, kept ? 1 : 0]);
          // The loop of this thread ends, and what the sessions hold must not change any more.
          block(STOP_MS, channel.flush);
          isEnding = true;
        } else if (type === QUIT) {
          isEnding = true;
        }
      };
      /** Notes that the first thread has counted a client of a source. */
      const noteKnown = (told: string): void => {
        const [source] = parseCount(told) ?? [];
        if (source === undefined) return;
        known.set(source, (known.get(source) ?? 0) + 1);
        relay.sources?.changed?.add(source);
      };
      const serveClients = (words: readonly number[], text: string): void => {
        const [told = '', proxyInfo = ''] = text.split('\n');
        noteKnown(told);
        for (let at = 0; at < words.length; at += 2) {
          serve(relay, words[at] as number, {
            isUnix: words[at + 1] === 1,
            proxyInfo: proxyInfo === '' ? undefined : parseProxyInfo(proxyInfo),
          });
          noteTaken(shared, index);
        }
      };
      /** Tells which sources have more connections than the first thread knows of (sign 1), or fewer (-1). */
      const tellSources = (sources: ReadonlySet<Source>, sign: 1 | -1): void => {
        const lines: string[] = [];
        for (const source of sources) {
          const open = relay.sources?.open.get(source) ?? 0;
          const more = sign * (open - (known.get(source) ?? 0));
          if (more <= 0) continue;
          lines.push(formatCount(source, more));
          if (open === 0) known.delete(source);
          else known.set(source, open);
        }
        for (let at = 0; at < lines.length; at += MOST_LINES)
          channel.send(SOURCES, [sign], lines.slice(at, at + MOST_LINES).join('\n'));
      };
      finishRound = () => {
        tally?.flush();
        log.sendTo((text) => channel.send(LINES, [], text));
        const changed = relay.sources?.changed;
        if (changed !== undefined && changed.size > 0) {
          tellSources(changed, 1);
          tellSources(changed, -1);
          changed.clear();
        }
        if (!hasClosed) return;
        hasClosed = false;
        if (relay.open === 0 || isWaiting(shared)) channel.send(CLOSED);
      };
      relay.onRejection = (failure) => channel.send(REJECTION, [], failure);
      noteOpen(shared, index, relay.open);
      finishRound();
      channel.send(READY, [resumed]);
      setState(shared, index, RUNNING);
      runInThread(loop, () => isEnding);
    },
  };
}

/** The most sources in a message: each takes 30 bytes at most. */
const MOST_LINES = 1000;
