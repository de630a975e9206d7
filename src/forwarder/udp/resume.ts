import { isAllowedAt } from '../access.js';
import { type Address, isConnectedTo, peerOf } from '../address.js';
import { boundDevice, indexOf } from '../device.js';
import { add } from '../loop.js';
import { socketOption } from '../socket-options.js';
import {
  ANSWERED,
  deadlineOf,
  flagsOf,
  type Notes,
  noteDeadline,
  noteFlags,
  openedAt,
  REFUSED,
  SERVED,
} from '../store/memory.js';
import type { Remains } from '../store/open.js';
import type { Kind } from '../store/store.js';
import {
  AF_UNIX,
  close,
  getsockopt,
  POLLERR,
  pinned,
  poll,
  SO_NETNS_COOKIE,
  SO_TYPE,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOL_SOCKET,
  socket,
} from '../syscalls.js';
import { readStoredFirst, storeFirst } from './first.js';
import { noteSession, readSession, type SessionNotes } from './notes.js';
import type { UdpRelay } from './relay.js';
import { createSession, outlive, type ReadReplies, resumeFirst } from './session.js';
import { type Caller, findSession, type Head, hashOf, type Session } from './sessions.js';

/*
 * How sessions of datagrams outlive the process: with the socket to the target, so that the server sees the same client, and its answers find
 * their way. What the kernel has received meanwhile, at the head and at that socket, waits there. Only what the process had read and not sent yet when it
 * died, at most a batch, is lost, as datagrams may be.
 */

/** How a session of datagrams is stored: its socket to the target, and that with its first datagram while this may have to be sent again. */
export const datagrams: Kind<Session> = {
  code: 2,
  prepare(session, stored) {
    noteSession(stored, session);
    noteDeadline(stored, session.deadline);
    const { answered, isCounted, pause, first } = session;
    noteFlags(
      stored,
      (answered ? ANSWERED : 0) |
        (isCounted ? SERVED : 0) |
        (first !== undefined && pause !== 0 ? REFUSED : 0),
    );
    storeFirst(session);
  },
  descriptors: ({ fd, storedFirst }) => [fd, storedFirst].filter((descriptor) => descriptor >= 0),
  pipes: () => [],
};

const cookie = pinned(8);
const cookieSize = pinned(4);

/** struct pollfd: the descriptor, the events asked for in 16 bits, those that occurred (poll(2)). */
const pollSocket = pinned(8);

/**
 * Continues the session of a client of an earlier process, unless the link would not serve it as it is now: it leads elsewhere, to another network
 * namespace, or does not listen there. The next datagram of the client begins a new session then. Returns whether it goes on.
 */
export function resumeSession(
  relay: UdpRelay,
  heads: readonly Head[],
  readReplies: ReadReplies,
  { notes, descriptors }: Remains,
): boolean {
  const flags = flagsOf(notes);
  const fd = descriptors.find((one) => socketOption(one, SO_TYPE) === SOCK_DGRAM) ?? -1;
  const firstFd = descriptors.find((one) => socketOption(one, SO_TYPE) === SOCK_SEQPACKET) ?? -1;
  const isConnected = fd >= 0 && peerOf(fd) !== undefined;
  const isUsable = isConnected && leadsToTarget(relay, fd);
  const first = firstFd < 0 || (flags & ANSWERED) !== 0 ? undefined : readStoredFirst(firstFd);
  // One whose socket had been closed goes on with its next datagram, and one whose first datagram waits for the target, with that.
  const isOver = isConnected && !isUsable && first === undefined;
  const session = isOver ? undefined : createResumed(relay, heads, readReplies, notes);
  for (const descriptor of descriptors)
    if (descriptor !== fd || !isUsable || session === undefined) close(descriptor);
  if (session === undefined) return false;
  if (isUsable) {
    session.fd = fd;
    session.to = targetOf(relay, fd);
    add(relay.loop, session);
  }
  if (session.ended) return true;
  if (first !== undefined)
    resumeFirst(relay, session, first, !isUsable || (flags & REFUSED) !== 0 || hasError(session.fd));
  outlive(relay, session);
  return true;
}

/** Creates the session that notes are about; undefined if its client is not served any more. */
function createResumed(
  relay: UdpRelay,
  heads: readonly Head[],
  readReplies: ReadReplies,
  notes: Notes,
): Session | undefined {
  const known = readSession(notes);
  const head = heads.find(({ address }) => address.every((word, i) => word === known.head[i]));
  if (head === undefined || !isServed(relay, head, known)) return undefined;
  const caller: Caller = {
    head,
    names: known.client,
    nameWord: 0,
    nameWords: known.client.length,
    controls: known.local,
    localWord: 0,
    localWords: known.local.length,
    device: known.device,
    hops: 0,
  };
  const hash = hashOf(relay.sessions, caller);
  if (findSession(relay.sessions, caller, hash) !== undefined) return undefined;
  const session = createSession(relay, caller, hash, readReplies);
  const flags = flagsOf(notes);
  session.openedAt = openedAt(notes);
  session.active = Math.min(known.active, relay.loop.now);
  session.answered = (flags & ANSWERED) !== 0;
  session.isCounted = (flags & SERVED) !== 0;
  session.deadline = deadlineOf(notes);
  return session;
}

/** Whether an error of a socket has not been read. The process may have died before it noted that its datagram had been refused. */
function hasError(fd: number): boolean {
  pollSocket.words[0] = fd;
  pollSocket.words[1] = 0;
  return poll(pollSocket.address, 1, 0) > 0 && (((pollSocket.words[1] as number) >> 16) & POLLERR) !== 0;
}

/** Whether the link is for a client, and for the interface by which it came. */
function isServed({ access, device }: UdpRelay, head: Head, known: SessionNotes): boolean {
  if (access !== undefined && !isAllowedAt(access, known.client, 0)) return false;
  return device === undefined || indexOf(head.fd, device) === known.device;
}

/** Whether a socket leads to the target as the link has it now, from the network namespace of this process. */
function leadsToTarget(relay: UdpRelay, fd: number): boolean {
  const target = targetOf(relay, fd);
  // An address that is not known yet may be the one that it had.
  if (target === undefined) return relay.to === undefined;
  if (target.family === AF_UNIX) return true;
  return boundDevice(fd) === (target.device?.text ?? '') && isInThisNamespace(fd, target.family);
}

/** The address of the target, one of several if it has a name, that a socket is connected to. */
function targetOf({ to, named }: UdpRelay, fd: number): Address | undefined {
  return [...(to === undefined ? [] : [to]), ...(named?.list ?? [])].find((address) =>
    isConnectedTo(fd, address),
  );
}

/** After a container was restarted, the sockets of the previous process are in a namespace where nothing exists any more. */
function isInThisNamespace(fd: number, family: number): boolean {
  const other = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (other < 0) return false;
  const own = namespaceOf(other);
  close(other);
  return own !== undefined && namespaceOf(fd) === own;
}

/** A number that only sockets of one network namespace have (SO_NETNS_COOKIE, Linux 5.14); undefined if the kernel tells none. */
function namespaceOf(fd: number): bigint | undefined {
  cookieSize.words[0] = 8;
  return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie.address, cookieSize.address) < 0
    ? undefined
    : cookie.bytes.readBigUInt64LE(0);
}
