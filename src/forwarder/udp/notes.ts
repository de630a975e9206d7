import { type Notes, noteTime, timeOf, wordsOf } from '../store/memory.js';
import { ADDRESS_WORDS, type Session } from './sessions.js';

/*
 * What the notes about a stored session of datagrams hold. The words are those of wordsOf(): the address of the head, the address of the client with
 * its size in bytes, the local address that it has called with its size in words, and the interface by which it came; and when a datagram last passed.
 */
const HEAD = 0;
const CLIENT_SIZE = 7;
const CLIENT = 8;
const LOCAL_SIZE = 15;
const LOCAL = 16;
const DEVICE = 20;
const ACTIVE = 22;

/** Which client a session is of, and when a datagram last passed. */
export interface SessionNotes {
  /** The words of the address that its head was bound to. */
  readonly head: Int32Array;
  /** The words of the address of the client. */
  readonly client: Int32Array;
  /** The words of the local address that the client has called; none if the head does not tell it. */
  readonly local: Int32Array;
  readonly device: number;
  /** ms, on the clock of performance.now(). */
  readonly active: number;
}

/** Notes all about a session. */
export function noteSession(notes: Notes, session: Session): void {
  const words = wordsOf(notes);
  const { head, client, clientSize, local, device, active } = session;
  words.set(head.address, HEAD);
  words[CLIENT_SIZE] = clientSize;
  words.set(client.words.subarray(0, clientSize / 4), CLIENT);
  words[LOCAL_SIZE] = local?.length ?? 0;
  if (local !== undefined) words.set(local, LOCAL);
  words[DEVICE] = device;
  noteTime(notes, ACTIVE, active);
}

/** Notes when a datagram of a session last passed, ms, on the clock of performance.now(). */
export function noteActive(notes: Notes, active: number): void {
  noteTime(notes, ACTIVE, active);
}

/** What has been noted about a session. Throws an Error if that cannot be. */
export function readSession(notes: Notes): SessionNotes {
  const words = wordsOf(notes);
  const clientWords = (words[CLIENT_SIZE] as number) / 4;
  const localWords = words[LOCAL_SIZE] as number;
  const isSound =
    Number.isInteger(clientWords) &&
    clientWords > 0 &&
    clientWords <= ADDRESS_WORDS &&
    (localWords === 0 || localWords === 1 || localWords === 4);
  if (!isSound) throw new Error('its notes are damaged');
  return {
    head: words.slice(HEAD, HEAD + ADDRESS_WORDS),
    client: words.slice(CLIENT, CLIENT + clientWords),
    local: words.slice(LOCAL, LOCAL + localWords),
    device: words[DEVICE] as number,
    active: timeOf(notes, ACTIVE),
  };
}
