import type { Address } from '../address.js';
import type { Watch } from '../loop.js';
import { type Source, sourceIn } from '../sources.js';
import type { Storable, Stored } from '../store/store.js';
import type { Pinned } from '../syscalls.js';
import type { Timer } from '../timers.js';

/** Words of the address of a client: a sockaddr_in6 has 7. */
export const ADDRESS_WORDS = 7;

/** What a client and the address that it has called have in common: one of its datagrams is kept until the target answers. */
export interface Session extends Watch, Storable {
  /** When it began, ms, on the clock of the loop. */
  openedAt: number;
  /** Whether it outlives the process: it is more than one short exchange. */
  isLasting: boolean;
  /** Its notes while it is stored. Then the service manager has a duplicate of its socket. */
  stored: Stored | undefined;
  /** The listening socket that it came by. */
  readonly head: Head;
  /** The address of the client, in memory that never moves. */
  readonly client: Pinned;
  readonly clientSize: number;
  /** The local address that the client has called, if the head tells it: its words, and the interface. */
  readonly local: Int32Array | undefined;
  readonly device: number;
  /** The TTL or hop limit that its first datagram had on arrival; 0 if unknown. */
  readonly hops: number;
  /** The address of the target that its socket is connected to. */
  to: Address | undefined;
  /** When a datagram last passed, ms, on the clock of the loop. */
  active: number;
  /** Whether the target has sent anything. */
  answered: boolean;
  /** Whether it is among the served ones: its first datagram has arrived. */
  isCounted: boolean;
  /** A copy of the first datagram while it may have to be sent again. */
  first: Buffer | undefined;
  /** Another copy of it, which outlives the process: a socket whose queue holds it; -1 without one. */
  storedFirst: number;
  /** Whether the next datagram is kept as the first one was, since one has not reached the target. */
  keepsNext: boolean;
  /** When sending it is given up, ms, on the clock of the loop. */
  deadline: number;
  /** Before the next attempt to send it, or before it is forgotten. */
  readonly timer: Timer;
  /** The length of that pause last time, ms. */
  pause: number;
  /** Neighbours in the order of activity, the oldest first. */
  older: Session | undefined;
  newer: Session | undefined;
  /** The next session with the same hash. */
  sibling: Session | undefined;
  readonly hash: number;
  /** The messages of the current batch that are from this client: the first and the last; -1 for none. */
  batchFirst: number;
  batchLast: number;
  /** Whether datagrams of the same size are sent together to the target, and to the client: until the kernel refuses that. */
  joinsRequests: boolean;
  joinsReplies: boolean;
  /** How many replies are read at a time. */
  mostReplies: number;
  ended: boolean;
}

/** How many replies are read at first from a session. */
export const FEW_REPLIES = 1;

/** A listening socket for datagrams. */
export interface Head extends Watch {
  /** The words of the address that it is bound to. */
  readonly address: Int32Array;
  /** Whether the kernel tells which address a client has called, from which answers must leave then, and by which interface. */
  readonly tellsLocal: boolean;
  /** The index of the only interface through which clients are served, as it was last; 0 without one. */
  device: number;
}

/** The sessions of a link, by client, in the order of activity, and by the address that clients come from. */
export interface Sessions {
  readonly byHash: Map<number, Session>;
  readonly bySource: Map<Source | undefined, Set<Session>>;
  readonly seed: number;
  count: number;
  oldest: Session | undefined;
  newest: Session | undefined;
}

/** No session. Hashes depend on a random seed, so that no client can choose addresses that collide. */
export function createSessions(): Sessions {
  return {
    byHash: new Map(),
    bySource: new Map(),
    seed: Math.floor(Math.random() * 2 ** 32),
    count: 0,
    oldest: undefined,
    newest: undefined,
  };
}

/** The address of a client in the words of a batch, and the local address that it has called. */
export interface Caller {
  readonly head: Head;
  readonly names: Int32Array;
  readonly nameWord: number;
  readonly nameWords: number;
  readonly controls: Int32Array;
  readonly localWord: number;
  readonly localWords: number;
  readonly device: number;
  /** The TTL or hop limit that its datagram had on arrival; 0 if unknown. */
  readonly hops: number;
}

/** The hash of a caller. */
export function hashOf(sessions: Sessions, caller: Caller): number {
  let hash = sessions.seed ^ caller.head.fd;
  for (let i = 0; i < caller.nameWords; i++) hash = mix(hash, caller.names[caller.nameWord + i] as number);
  for (let i = 0; i < caller.localWords; i++)
    hash = mix(hash, caller.controls[caller.localWord + i] as number);
  return hash;
}

/** The session of a caller; undefined when it has none. */
export function findSession(sessions: Sessions, caller: Caller, hash: number): Session | undefined {
  let session = sessions.byHash.get(hash);
  while (session !== undefined && !isOf(session, caller)) session = session.sibling;
  return session;
}

/** Adds a session, as the newest. */
export function addSession(sessions: Sessions, session: Session): void {
  session.sibling = sessions.byHash.get(session.hash);
  sessions.byHash.set(session.hash, session);
  const source = sourceIn(session.client.words);
  const own = sessions.bySource.get(source);
  if (own === undefined) sessions.bySource.set(source, new Set([session]));
  else own.add(session);
  sessions.count += 1;
  append(sessions, session);
}

/** Removes a session. */
export function removeSession(sessions: Sessions, session: Session): void {
  const first = sessions.byHash.get(session.hash);
  if (first === session) {
    if (session.sibling === undefined) sessions.byHash.delete(session.hash);
    else sessions.byHash.set(session.hash, session.sibling);
  } else {
    for (let other = first; other !== undefined; other = other.sibling)
      if (other.sibling === session) other.sibling = session.sibling;
  }
  const source = sourceIn(session.client.words);
  const own = sessions.bySource.get(source);
  own?.delete(session);
  if (own?.size === 0) sessions.bySource.delete(source);
  sessions.count -= 1;
  unlink(sessions, session);
}

/** The share of all sessions that clients of one address have before they take the place of each other only. */
const SHARE = 8;

/** How many sessions of an address are compared. */
const COMPARED = 16;

/**
 * The session that ends for that of a new client, of `most`: the one that has been quiet the longest, of all sessions, or of those of
 * the client's own address, if these are an eighth: clients of one address do not end the sessions of all others.
 */
export function sessionToEnd(
  { oldest, bySource }: Sessions,
  caller: Pick<Caller, 'names' | 'nameWord' | 'nameWords'>,
  most: number,
): Session | undefined {
  const source = sourceIn(caller.names.subarray(caller.nameWord, caller.nameWord + caller.nameWords));
  const own = bySource.get(source);
  const isOldestOwn = oldest !== undefined && own?.has(oldest);
  return own === undefined || isOldestOwn || own.size < most / SHARE ? oldest : quietestOf(own);
}

/** About the one that has been quiet the longest: of some, which are not compared again before the others have been. */
function quietestOf(own: Set<Session>): Session | undefined {
  let quietest: Session | undefined;
  let compared = 0;
  for (const session of own) {
    if (compared++ === COMPARED) break;
    if (quietest === undefined || session.active < quietest.active) quietest = session;
    own.delete(session);
    own.add(session);
  }
  return quietest;
}

/** Makes a session the newest. */
export function touchSession(sessions: Sessions, session: Session, now: number): void {
  session.active = now;
  if (sessions.newest === session) return;
  unlink(sessions, session);
  append(sessions, session);
}

function isOf(session: Session, caller: Caller): boolean {
  if (session.head !== caller.head || session.clientSize !== 4 * caller.nameWords) return false;
  const { words } = session.client;
  for (let i = 0; i < caller.nameWords; i++) if (words[i] !== caller.names[caller.nameWord + i]) return false;
  for (let i = 0; i < caller.localWords; i++)
    if (session.local?.[i] !== caller.controls[caller.localWord + i]) return false;
  return true;
}

/** Puts the sessions into the order of activity. */
export function sortSessions(sessions: Sessions): void {
  const all: Session[] = [];
  for (let session = sessions.oldest; session !== undefined; session = session.newer) all.push(session);
  sessions.oldest = undefined;
  sessions.newest = undefined;
  for (const session of all.sort((one, other) => one.active - other.active)) append(sessions, session);
}

function append(sessions: Sessions, session: Session): void {
  session.older = sessions.newest;
  session.newer = undefined;
  if (sessions.newest === undefined) sessions.oldest = session;
  else sessions.newest.newer = session;
  sessions.newest = session;
}

function unlink(sessions: Sessions, session: Session): void {
  const { older, newer } = session;
  if (older === undefined) sessions.oldest = newer;
  else older.newer = newer;
  if (newer === undefined) sessions.newest = older;
  else newer.older = older;
  session.older = undefined;
  session.newer = undefined;
}

/** One step of MurmurHash3 (Austin Appleby, public domain). */
function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  const h = hash ^ Math.imul(k, 0x1b873593);
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}
