import { add, type Loop, modify, type Watch } from '../loop.js';
import { createSendRetry } from '../send-retry.js';
import {
  AF_UNIX,
  E,
  EPOLLIN,
  EPOLLOUT,
  errno,
  errorWords,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  type Pinned,
  pinned,
  poll,
  recv,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
  sendFrom,
  socketpair,
} from '../syscalls.js';

/*
 * What the first thread and a worker say to each other, over a socket pair that keeps the boundaries of messages (SOCK_SEQPACKET,
 * unix(7)). The loop of either watches its end as any other socket, where messages of worker_threads would need a turn of Node's own
 * loop. A message is a number of 32-bit words, of which the first is its type and the second tells how many words follow, and
 * a text.
 */

/** The most bytes of a message. */
const MOST_BYTES = 1 << 16;

/** The most words and the most bytes of text in one message. */
export const MOST_WORDS = 1024;
export const MOST_TEXT = 32_768;

/** Messages that are taken in a round of the loop. */
const MOST_A_ROUND = 16;

const HEADER_WORDS = 2;

/** A message. */
export interface Message {
  readonly type: number;
  readonly words: readonly number[];
  readonly text: string;
}

/** One end. */
export interface Channel {
  readonly fd: number;
  /** Sends a message. What the other end has no room for is sent later, in order. */
  send(type: number, words?: readonly number[], text?: string): void;
  /** Handles the messages that have arrived. */
  read(): void;
  /** Sends what the other end has room for by now, while the loop does not. Returns whether that was all. */
  flush(): boolean;
}

/** Where messages are written and read. A forwarder without workers has none. */
let room: Pinned;

/** Creates a socket pair for a channel. Throws an Error if the kernel does not. */
export function createPair(): [number, number] {
  const pair = pinned(8);
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.address) < 0)
    throw new Error(`no socket pair for a worker (${errorWords(errno())})`);
  return [pair.words[0] as number, pair.words[1] as number];
}

/** Watches one end of a channel, and calls `receive` for each message. */
export function openChannel(loop: Loop, fd: number, receive: (message: Message) => void): Channel {
  room ??= pinned(MOST_BYTES);
  const unsent: Message[] = [];
  const read = (most = MOST_A_ROUND): void => {
    for (let n = 0; n < most; n++) {
      const message = receiveMessage(fd);
      if (message === undefined) return;
      receive(message);
    }
  };
  const flush = (): boolean => {
    while (unsent.length > 0) {
      const failure = sendMessage(fd, unsent[0] as Message);
      if (failure !== 0) {
        retrySend(failure);
        return false;
      }
      unsent.shift();
    }
    modify(loop, watch, EPOLLIN);
    return true;
  };
  const watch: Watch = {
    fd,
    wanted: EPOLLIN,
    mask: -1,
    changed: false,
    ready: (events) => {
      if ((events & EPOLLOUT) !== 0) flush();
      read();
    },
    refused: (failure) => {
      throw new Error(`the kernel does not watch the socket of a worker (${errorWords(failure)})`);
    },
  };
  const retrySend = createSendRetry(loop, watch);
  add(loop, watch);
  return {
    fd,
    send(type, words = [], text = '') {
      const message = { type, words, text };
      if (unsent.length === 0) {
        const failure = sendMessage(fd, message);
        if (failure === 0) return;
        retrySend(failure);
      }
      unsent.push(message);
    },
    read: () => read(Number.POSITIVE_INFINITY),
    flush,
  };
}

/** How often a thread that blocks looks what the other ends of its channels have done, ms. */
const STEP_MS = 1;

/** Blocks until `isDone`, which is called again and again, `ms` at most. */
export function block(ms: number, isDone: () => boolean): void {
  const end = performance.now() + ms;
  while (!isDone() && performance.now() < end) poll(0, 0, STEP_MS);
}

/** Returns 0 if it is sent, or need not be because the other end is gone; otherwise errno. */
function sendMessage(fd: number, { type, words, text }: Message): number {
  room.words[0] = type;
  room.words[1] = words.length;
  room.words.set(words, HEADER_WORDS);
  const textAt = 4 * (HEADER_WORDS + words.length);
  const size = textAt + (text === '' ? 0 : room.bytes.write(text, textAt, MOST_TEXT));
  if (sendFrom(fd, room.address, size, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0) >= 0) return 0;
  const failure = errno();
  return FULL.has(failure) ? failure : 0;
}

/** Errors of a queue that has no room now. */
const FULL = new Set([E.EAGAIN, E.ENOBUFS, E.ENOMEM, E.EINTR]);

function receiveMessage(fd: number): Message | undefined {
  const size = recv(fd, room.address, MOST_BYTES, MSG_DONTWAIT);
  if (size < 4 * HEADER_WORDS) return undefined;
  const count = room.words[1] as number;
  const textAt = HEADER_WORDS + count;
  return {
    type: room.words[0] as number,
    words: Array.from(room.words.subarray(HEADER_WORDS, textAt)),
    text: size > 4 * textAt ? room.bytes.toString('utf8', 4 * textAt, size) : '',
  };
}
