import { hrtime } from 'node:process';
import {
  close,
  ftruncate,
  lseek,
  MFD_CLOEXEC,
  mapShared,
  memfdCreate,
  SEEK_END,
  type SharedMemory,
} from '../syscalls.js';

/*
 * What the kernel cannot tell about a session once the process is dead: which pipe holds its bytes, how many bytes it
 * has read, which ends it has passed on. It stands in a memory file (memfd_create(2)) that the service manager keeps
 * with the sockets of the sessions. A note is a plain store to mapped memory and costs no system call. The store is in
 * the file as soon as the instruction has retired, however the process dies after it.
 *
 * Each process writes a file of its own, and only reads that of its predecessor. So programs of different versions only
 * have to know how to read each other's files. All numbers are in the byte order of the machine.
 */

/** "WHST", and the version of the layout. A program that does not know the version resets the sessions. */
const MAGIC = 0x54534857;
const VERSION = 1;

/** Words of the header, 32 bits each. */
const HEADER_WORDS = 64;
const MAGIC_WORD = 0;
const VERSION_WORD = 1;
const CAPACITY_WORD = 2;
const EARLY_DEATHS_WORD = 3;
const URGENT_FLOW_WORD = 4;
const TAKEN_OVER_WORD = 5;
const MESSAGE_FLOW_WORD = 6;
/** struct msghdr (56 bytes), struct iovec (16) and one byte of data, with which an urgent byte or a message is removed from a socket. */
const REMOVAL_WORD = 16;
const REMOVAL_VECTOR_WORD = 30;
const REMOVAL_BYTE_WORD = 34;
/** struct mmsghdr (64 bytes), with which a message is sent. */
const SENDING_WORD = 36;
/** msg_flags of struct msghdr and msg_len of struct mmsghdr, in words from the beginning. */
const MESSAGE_FLAGS_WORD = 12;
const MESSAGE_LENGTH_WORD = 14;

/** Words of a record. A record is known by the word at which it begins, which is never 0. */
const RECORD_WORDS = 32;
const SERIAL = 0;
const KIND = 1;
const FLAGS = 2;
const OPENED = 4;
const DEADLINE = 6;
/** The parts of a record about a direction, and the words of such a part. */
export const UP = 8;
export const DOWN = 14;
const PIPE = 0;
const BASE = 2;
const READ = 4;
/** Words that each kind of session uses as it likes, behind the two of {@link noteDescriptors}. */
export const OWN = 20;
/** Sessions whose bytes are never in pipes use the words of both directions, too: see {@link wordsOf}. */
const WORDS = UP;

/** Instead of the number of a pipe: bytes may be in a pipe that could not be stored. */
const UNSTORED_PIPE = -1;

/** The base of a flow whose pipe holds bytes that have been counted. */
const COUNTED = -1;

/** What is known of a session, as bits. */
export const CONNECTED = 0x1;
export const CLIENT_RESET = 0x2;
export const TARGET_RESET = 0x4;
/** The end of a direction has been passed on: DONE; as a FIN: FIN as well. */
export const UP_DONE = 0x8;
export const UP_FIN = 0x10;
export const DOWN_DONE = 0x20;
export const DOWN_FIN = 0x40;
/** The session has ended. Closing its sockets is all that is left to do. */
export const ENDED = 0x80;
/** The error of the socket to the target is being read, which clears it. Only it tells whether the target had accepted. */
export const READING_ERROR = 0x100;
/** A session of datagrams: its target has answered; it is among the served ones; its first datagram has been refused, and is to be sent again. */
export const ANSWERED = 0x200;
export const SERVED = 0x400;
export const REFUSED = 0x800;

/** The memory of one process. */
export interface Memory extends SharedMemory {
  readonly fd: number;
  /** How many records it has room for. */
  readonly capacity: number;
  /** Records that no stored snapshot mentions, and the number of records that have been used so far. */
  readonly free: number[];
  used: number;
  /** The serial number of the newest record. */
  serial: number;
}

/** Creates a memory for `capacity` sessions; undefined if the kernel does not (see errno()). */
export function createMemory(capacity: number): Memory | undefined {
  const fd = memfdCreate('wormhole-sessions', MFD_CLOEXEC);
  if (fd < 0) return undefined;
  const size = 4 * (HEADER_WORDS + capacity * RECORD_WORDS);
  // Pages come into being when they are written.
  const shared = ftruncate(fd, size) < 0 ? undefined : mapShared(fd, size);
  if (shared === undefined) {
    close(fd);
    return undefined;
  }
  const { words } = shared;
  words[MAGIC_WORD] = MAGIC;
  words[VERSION_WORD] = VERSION;
  words[CAPACITY_WORD] = capacity;
  prepareRemoval(shared);
  return { ...shared, fd, capacity, free: [], used: 0, serial: 0 };
}

/** Fills in the msghdr with which something is removed from a socket, for the address at which the memory is mapped. */
function prepareRemoval({ words, address }: SharedMemory): void {
  setPointer(words, REMOVAL_WORD + 4, address + 4 * REMOVAL_VECTOR_WORD);
  words[REMOVAL_WORD + 6] = 1;
  setPointer(words, REMOVAL_VECTOR_WORD, address + 4 * REMOVAL_BYTE_WORD);
  words[REMOVAL_VECTOR_WORD + 2] = 1;
}

/** Maps the memory of another process. Throws an Error that says why `fd` is none, or none that can be read. */
export function openMemory(fd: number): SharedMemory {
  const size = lseek(fd, 0, SEEK_END);
  const header = size < 4 * HEADER_WORDS ? undefined : mapShared(fd, 4 * HEADER_WORDS);
  if (header?.words[MAGIC_WORD] !== MAGIC) throw new Error('their notes are damaged');
  const version = header.words[VERSION_WORD];
  if (version !== VERSION) throw new Error(`their notes have version ${version}, not ${VERSION}`);
  const expected = 4 * (HEADER_WORDS + (header.words[CAPACITY_WORD] as number) * RECORD_WORDS);
  const shared = expected === size ? mapShared(fd, size) : undefined;
  if (shared === undefined) throw new Error('their notes are damaged');
  return shared;
}

/** Whether a record begins at this word. */
export function isRecord({ words }: SharedMemory, record: number): boolean {
  const at = (record - HEADER_WORDS) / RECORD_WORDS;
  return Number.isInteger(at) && at >= 0 && at < (words[CAPACITY_WORD] as number);
}

/** Takes an empty record for a session of this kind that was opened at `opened`; 0 if there is no room. */
export function takeRecord(memory: Memory, kind: number, opened: number): number {
  const { words, numbers, free } = memory;
  if (free.length === 0 && memory.used >= memory.capacity) return 0;
  const record = free.pop() ?? HEADER_WORDS + RECORD_WORDS * memory.used++;
  words.fill(0, record, record + RECORD_WORDS);
  memory.serial = (memory.serial + 1) | 0 || 1;
  words[record + KIND] = kind;
  numbers[(record + OPENED) >> 1] = toMonotonic(opened);
  words[record + SERIAL] = memory.serial;
  return record;
}

/** The notes about one session. */
export interface Notes {
  readonly memory: SharedMemory;
  readonly record: number;
}

/** The serial number of a record: a record that is used again has another one. */
export function serialOf({ memory, record }: Notes): number {
  return memory.words[record + SERIAL] as number;
}

export function kindOf({ memory, record }: Notes): number {
  return memory.words[record + KIND] as number;
}

export function flagsOf({ memory, record }: Notes): number {
  return memory.words[record + FLAGS] as number;
}

/** Sets bits of the flags. */
export function noteFlags({ memory, record }: Notes, flags: number): void {
  memory.words[record + FLAGS] = (memory.words[record + FLAGS] as number) | flags;
}

/** Clears bits of the flags. */
export function clearFlags({ memory, record }: Notes, flags: number): void {
  memory.words[record + FLAGS] = (memory.words[record + FLAGS] as number) & ~flags;
}

/** Notes the descriptors of the sockets in this process, for those who look at it from outside. */
export function noteDescriptors({ memory, record }: Notes, client: number, target: number): void {
  // 0 says that there is none yet.
  memory.words[record + OWN] = client + 1;
  memory.words[record + OWN + 1] = target + 1;
}

/** When the session was opened, ms, on the clock of performance.now() of this process. */
export function openedAt({ memory, record }: Notes): number {
  return fromMonotonic(memory.numbers[(record + OPENED) >> 1] as number);
}

/** Notes when no further attempt to connect is made, ms, on the clock of performance.now(). */
export function noteDeadline({ memory, record }: Notes, deadline: number): void {
  memory.numbers[(record + DEADLINE) >> 1] = toMonotonic(deadline);
}

export function deadlineOf({ memory, record }: Notes): number {
  return fromMonotonic(memory.numbers[(record + DEADLINE) >> 1] as number);
}

/*
 * The parts UP and DOWN are about the two directions. Before bytes go into a pipe, the notes say which pipe that is, and how
 * many bytes have been read from the socket until then (the base). After that, they count the bytes in the pipe as read, too.
 * So if both numbers are equal, what is in the pipe has not been counted.
 */
export type Part = typeof UP | typeof DOWN;

/** Notes that bytes are about to go into an empty pipe, when `read` bytes have been read. */
export function noteFill({ memory, record }: Notes, part: Part, pipe: number, read: number): void {
  const flow = record + part;
  memory.numbers[(flow + BASE) >> 1] = read;
  memory.words[flow + PIPE] = pipe;
}

/** Notes that more bytes are about to go into the pipe, which is empty again. */
export function noteRefill({ memory, record }: Notes, part: Part, read: number): void {
  memory.numbers[(record + part + BASE) >> 1] = read;
}

/** Notes that `read` bytes have been read from the socket, including those in the pipe. */
export function noteRead({ memory, record }: Notes, part: Part, read: number): void {
  memory.numbers[(record + part + READ) >> 1] = read;
}

/** Notes that `read` bytes have been read, of which some may be in `pipe` (0: none are). */
export function noteHeld({ memory, record }: Notes, part: Part, pipe: number, read: number): void {
  const flow = record + part;
  memory.numbers[(flow + READ) >> 1] = read;
  memory.numbers[(flow + BASE) >> 1] = COUNTED;
  memory.words[flow + PIPE] = pipe;
}

/** Notes that bytes may be in a pipe which could not be stored. A process that finds this note resets the session. */
export function noteUnstored({ memory, record }: Notes, part: Part): void {
  memory.words[record + part + PIPE] = UNSTORED_PIPE;
}

/** Notes that no bytes are in a pipe. */
export function noteRelease({ memory, record }: Notes, part: Part): void {
  memory.words[record + part + PIPE] = 0;
}

/** Notes a number in a word that sessions of a kind use as they like, the first of which is 0. */
export function noteOwn({ memory, record }: Notes, word: number, value: number): void {
  memory.words[record + OWN + word] = value;
}

/** The number in such a word; 0 if none was noted. */
export function ownOf({ memory, record }: Notes, word: number): number {
  return memory.words[record + OWN + word] as number;
}

/** The words that a session without pipes uses as it likes: 24. */
export function wordsOf({ memory: { words }, record }: Notes): Int32Array {
  return words.subarray(record + WORDS, record + RECORD_WORDS);
}

/** Notes a time in two of these words, the first of which has an even number: ms, on the clock of performance.now(). */
export function noteTime({ memory, record }: Notes, word: number, time: number): void {
  memory.numbers[(record + WORDS + word) >> 1] = toMonotonic(time);
}

export function timeOf({ memory, record }: Notes, word: number): number {
  return fromMonotonic(memory.numbers[(record + WORDS + word) >> 1] as number);
}

/** What the notes say about a direction. */
export interface FlowNotes {
  /** The number of the pipe that may hold bytes; 0 if there is none. */
  readonly pipe: number;
  /** Whether bytes may be in a pipe that could not be stored. */
  readonly isLost: boolean;
  /** The bytes read from the socket, without those in the pipe unless `isCounted`. */
  readonly read: number;
  readonly isCounted: boolean;
}

export function flowNotes({ memory: { words, numbers }, record }: Notes, part: Part): FlowNotes {
  const flow = record + part;
  const pipe = words[flow + PIPE] as number;
  const read = numbers[(flow + READ) >> 1] as number;
  return {
    pipe: Math.max(0, pipe),
    isLost: pipe === UNSTORED_PIPE,
    read,
    isCounted: numbers[(flow + BASE) >> 1] !== read,
  };
}

/*
 * The urgent byte is written to a pipe first, and then removed from the socket. A message of a unix socket is sent first, and then
 * removed. The kernel writes the flags of the message in the same system call that removes something, and the length in
 * the one that sends. So the memory tells whether that has happened.
 */

const NOT_REMOVED = -1;
const NOT_SENT = -1;

/** Notes that the urgent byte is about to be moved. Returns the address of the msghdr to receive it with. */
export function beginUrgent({ memory: { words, address }, record }: Notes, part: Part): number {
  words[REMOVAL_WORD + MESSAGE_FLAGS_WORD] = NOT_REMOVED;
  words[URGENT_FLOW_WORD] = record + part;
  return address + 4 * REMOVAL_WORD;
}

/** Notes that the byte has been moved, or is where it was. */
export function endUrgent({ memory }: Notes): void {
  memory.words[URGENT_FLOW_WORD] = 0;
}

/** Whether the process may have died after it wrote the urgent byte to the pipe and before it removed it from the socket. */
export function isUrgentTwice({ memory: { words }, record }: Notes, part: Part): boolean {
  return (
    words[URGENT_FLOW_WORD] === record + part && words[REMOVAL_WORD + MESSAGE_FLAGS_WORD] === NOT_REMOVED
  );
}

/** The addresses of the mmsghdr to send a message with, and of the msghdr to remove it with. */
export interface MessageMove {
  readonly sending: number;
  readonly removal: number;
}

/** Notes that a message is about to be sent and then removed from its queue. `header` is its msghdr of 14 words. */
export function beginMessage(
  { memory: { words, address }, record }: Notes,
  part: Part,
  header: Int32Array,
): MessageMove {
  words.set(header, SENDING_WORD);
  words[SENDING_WORD + MESSAGE_LENGTH_WORD] = NOT_SENT;
  words[REMOVAL_WORD + MESSAGE_FLAGS_WORD] = NOT_REMOVED;
  words[MESSAGE_FLOW_WORD] = record + part;
  return { sending: address + 4 * SENDING_WORD, removal: address + 4 * REMOVAL_WORD };
}

/** Notes that the message has been moved, or is where it was. */
export function endMessage({ memory }: Notes): void {
  memory.words[MESSAGE_FLOW_WORD] = 0;
}

/** Whether the process died after it sent a message and before it removed it from its queue. */
export function isMessageTwice({ memory: { words }, record }: Notes, part: Part): boolean {
  return (
    words[MESSAGE_FLOW_WORD] === record + part &&
    words[SENDING_WORD + MESSAGE_LENGTH_WORD] !== NOT_SENT &&
    words[REMOVAL_WORD + MESSAGE_FLAGS_WORD] === NOT_REMOVED
  );
}

/**
 * Returns the address of the msghdr with which to remove what the previous process had moved and not removed. It is in the notes of that
 * process: if this one dies soon, the next one reads there that it is done.
 */
export function removalOf({ memory }: Notes): number {
  prepareRemoval(memory);
  return memory.address + 4 * REMOVAL_WORD;
}

/**
 * Notes that another process is about to move bytes of these sessions and takes its notes elsewhere. From then on, the notes
 * here and what was stored with them are out of date.
 */
export function noteTakenOver({ words }: SharedMemory): void {
  words[TAKEN_OVER_WORD] = 1;
}

export function isTakenOver({ words }: SharedMemory): boolean {
  return words[TAKEN_OVER_WORD] !== 0;
}

/** How many processes in a row have died soon after they had taken over the sessions. */
export function earlyDeaths({ words }: SharedMemory): number {
  return words[EARLY_DEATHS_WORD] as number;
}

export function noteEarlyDeaths({ words }: SharedMemory, count: number): void {
  words[EARLY_DEATHS_WORD] = count;
}

function setPointer(words: Int32Array, at: number, pointer: number): void {
  words[at] = pointer | 0;
  words[at + 1] = Math.floor(pointer / 2 ** 32);
}

/** What to add to performance.now() for the time since the machine was booted, which all processes share, ms. */
const MONOTONIC = Number(hrtime.bigint()) / 1e6 - performance.now();

function toMonotonic(time: number): number {
  return time + MONOTONIC;
}

function fromMonotonic(time: number): number {
  return time - MONOTONIC;
}
