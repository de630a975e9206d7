import {
  AF_UNIX,
  close,
  E,
  errno,
  F_DUPFD_CLOEXEC,
  FIONREAD,
  fcntl,
  ioctl,
  POLLHUP,
  pinned,
  poll,
  SO_PEEK_OFF,
  SO_SNDBUF,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
  SOL_SOCKET,
  setsockopt,
  socketpair,
} from '../syscalls.js';
import { MOST_BYTES, MOST_DESCRIPTORS, peekDescriptors, sendDescriptors } from './descriptors.js';
import { type Memory, serialOf } from './memory.js';

/*
 * A generation: duplicates of the descriptors of all sessions at one moment, in the queue of a socket pair whose
 * receiving end the service manager keeps. So it holds one descriptor, however many sessions there are. A generation with
 * more than the send buffer of a socket takes is in the queues of several.
 *
 * A message consists of 32-bit words. The first three are MAGIC, VERSION and its type.
 */

/** "WHGN", and the version of the messages. A program that does not know the version resets the sessions. */
const MAGIC = 0x4e474857;
const VERSION = 1;

/** The first message of each queue: the number of the queue. The first queue also has the memory as descriptor. */
const BEGIN = 1;
/** Sessions: the record, its serial number and the number of descriptors of each; the descriptors. */
const SESSIONS = 2;
/** Pipes: the number of each; their ends for reading. */
const PIPES = 3;
/** The last message of the last queue, apart from pipes that are added later: the numbers of sessions and pipes. */
const END = 4;

const HEADER_WORDS = 3;
const SESSION_WORDS = 3;

/** As much as net.core.wmem_max allows (socket(7)), bytes. */
const SEND_BUFFER = 1 << 22;

/** Errors of a queue that takes no more. */
const FULL = new Set([E.EAGAIN, E.ENOBUFS]);

const value = pinned(8);

/** A generation that the service manager has, or is about to get. */
export interface Generation {
  readonly number: number;
  /** The sending end of each queue. */
  readonly senders: number[];
}

/** A generation that is being written. */
export interface Writer {
  /** Adds a session. */
  addSession(record: number, descriptors: readonly number[]): void;
  /** Adds the end for reading of a pipe. */
  addPipe(id: number, descriptor: number): void;
  /** Returns the generation with the receiving ends to store, or errno if a message could not be sent. */
  finish(): { generation: Generation; receivers: number[] } | number;
}

/** Begins to write a generation of sessions whose notes are in `memory`. */
export function writeGeneration(number: number, memory: Memory): Writer {
  const senders: number[] = [];
  const receivers: number[] = [];
  const total = { sessions: 0, pipes: 0 };
  let failure = 0;
  const send = (type: number, words: readonly number[], descriptors: readonly number[]): void => {
    if (failure !== 0) return;
    failure = sendMessage(senders.at(-1) as number, type, words, descriptors);
    if (!FULL.has(failure) || type === BEGIN) return;
    failure = 0;
    begin();
    if (failure === 0) failure = sendMessage(senders.at(-1) as number, type, words, descriptors);
  };
  const begin = (): void => {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, value.address) < 0) {
      failure = errno();
      return;
    }
    const sender = value.words[0] as number;
    senders.push(sender);
    receivers.push(value.words[1] as number);
    value.words[0] = SEND_BUFFER;
    setsockopt(sender, SOL_SOCKET, SO_SNDBUF, value.address, 4);
    send(BEGIN, [senders.length - 1], senders.length === 1 ? [memory.fd] : []);
  };
  let words: number[] = [];
  let descriptors: number[] = [];
  const flush = (type: number): void => {
    if (words.length > 0) send(type, words, descriptors);
    words = [];
    descriptors = [];
  };
  const make = (type: number, wordsMore: number, descriptorsMore: number): void => {
    const isFull =
      descriptors.length + descriptorsMore > MOST_DESCRIPTORS ||
      4 * (HEADER_WORDS + words.length + wordsMore) > MOST_BYTES;
    if (isFull) flush(type);
  };
  begin();
  return {
    addSession(record, more) {
      make(SESSIONS, SESSION_WORDS, more.length);
      words.push(record, serialOf({ memory, record }), more.length);
      descriptors.push(...more);
      total.sessions += 1;
    },
    addPipe(id, descriptor) {
      if (total.pipes === 0) flush(SESSIONS);
      make(PIPES, 1, 1);
      words.push(id);
      descriptors.push(descriptor);
      total.pipes += 1;
    },
    finish() {
      flush(total.pipes === 0 ? SESSIONS : PIPES);
      send(END, [total.sessions, total.pipes], []);
      if (failure === 0) return { generation: { number, senders }, receivers };
      for (const fd of [...senders, ...receivers]) close(fd);
      return failure;
    },
  };
}

/** Adds the end for reading of a pipe to a generation that has been stored. Returns 0, or errno. */
export function appendPipe({ senders }: Generation, id: number, descriptor: number): number {
  return sendMessage(senders.at(-1) as number, PIPES, [id], [descriptor]);
}

/** Forgets a generation. What the service manager has of it stays. */
export function closeGeneration({ senders }: Generation): void {
  for (const sender of senders) close(sender);
}

/** Whether nobody has the generation any more: the service manager has not stored it, or has dropped it. */
export function isDropped({ senders }: Generation): boolean {
  return senders.some((sender) => {
    value.words[0] = sender;
    value.words[1] = 0;
    return poll(value.address, 1, 0) > 0 && (((value.words[1] as number) >> 16) & POLLHUP) !== 0;
  });
}

/** A session in a generation that was read: its record with its serial number, and its descriptors. */
export interface StoredSession {
  readonly record: number;
  readonly serial: number;
  readonly descriptors: number[];
}

/** A generation that was read. */
export interface StoredGeneration {
  readonly memory: number;
  readonly sessions: StoredSession[];
  /** The end for reading of each pipe, by the number of the pipe. */
  readonly pipes: Map<number, number>;
}

/**
 * Reads a generation from its receiving ends, and leaves it there: if this process dies, the next one can read it as well.
 * Throws an Error that says what is wrong with it; then no descriptor stays open.
 */
export function readGeneration(receivers: readonly number[]): StoredGeneration {
  const opened: number[] = [];
  makeRoom(receivers);
  try {
    return parse(receivers.flatMap((receiver) => readQueue(receiver, opened)));
  } catch (error) {
    for (const descriptor of opened) close(descriptor);
    throw error;
  }
}

/**
 * Has the kernel enlarge the table of descriptors once for all that will be received. Otherwise it doubles the table again and again, and
 * each time a process with several threads waits some milliseconds for a grace period of RCU (expand_fdtable(), fs/file.c).
 */
function makeRoom(receivers: readonly number[]): void {
  for (const receiver of receivers) {
    if (ioctl(receiver, FIONREAD, value.address) < 0) continue;
    // A session takes three words and has two descriptors at most, a pipe takes one and has one.
    const most = (value.words[0] as number) / 4;
    const reserved = fcntl(receiver, F_DUPFD_CLOEXEC, most);
    if (reserved >= 0) close(reserved);
  }
}

interface Message {
  readonly type: number;
  readonly words: Int32Array;
  readonly descriptors: number[];
}

function readQueue(receiver: number, opened: number[]): Message[] {
  value.words[0] = 0;
  setsockopt(receiver, SOL_SOCKET, SO_PEEK_OFF, value.address, 4);
  const messages: Message[] = [];
  for (;;) {
    const received = peekDescriptors(receiver);
    if (received === undefined) return messages;
    opened.push(...received.descriptors);
    const { buffer, byteOffset, length } = received.bytes;
    if (length < 4 * HEADER_WORDS || length % 4 !== 0) throw new Error('a message is damaged');
    const words = new Int32Array(buffer.slice(byteOffset, byteOffset + length));
    if (words[0] !== MAGIC) throw new Error('a message is damaged');
    if (words[1] !== VERSION) throw new Error(`they have version ${words[1]}, not ${VERSION}`);
    messages.push({
      type: words[2] as number,
      words: words.subarray(HEADER_WORDS),
      descriptors: received.descriptors,
    });
  }
}

function parse(messages: Message[]): StoredGeneration {
  const sessions: StoredSession[] = [];
  const pipes = new Map<number, number>();
  let memory: number | undefined;
  let total: Int32Array | undefined;
  for (const { type, words, descriptors } of messages) {
    if (type === BEGIN) {
      memory = descriptors[0] ?? memory;
    } else if (type === SESSIONS) {
      let first = 0;
      for (let at = 0; at < words.length; at += SESSION_WORDS) {
        const [record = 0, serial = 0, count = 0] = words.subarray(at, at + SESSION_WORDS);
        if (count < 0 || first + count > descriptors.length) throw new Error('a message is damaged');
        sessions.push({ record, serial, descriptors: descriptors.slice(first, first + count) });
        first += count;
      }
    } else if (type === PIPES) {
      if (words.length !== descriptors.length) throw new Error('a message is damaged');
      for (const [at, id] of words.entries()) pipes.set(id, descriptors[at] as number);
    } else if (type === END) {
      total = words;
    } else {
      throw new Error('a message is damaged');
    }
  }
  const isComplete = total?.[0] === sessions.length && (total[1] ?? 0) <= pipes.size;
  if (memory === undefined || !isComplete) throw new Error('messages are missing');
  return { memory, sessions, pipes };
}

function sendMessage(
  sender: number,
  type: number,
  words: readonly number[],
  descriptors: readonly number[],
): number {
  const message = Int32Array.of(MAGIC, VERSION, type, ...words);
  return sendDescriptors(sender, new Uint8Array(message.buffer), descriptors);
}
