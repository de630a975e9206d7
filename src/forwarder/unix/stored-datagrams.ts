import { peerOf } from '../address.js';
import type { Watch } from '../loop.js';
import { disconnect, socketOption } from '../socket-options.js';
import {
  DOWN,
  flagsOf,
  type Notes,
  noteFlags,
  noteTime,
  openedAt,
  SERVED,
  timeOf,
  UP,
} from '../store/memory.js';
import type { Remains } from '../store/open.js';
import type { Kind, Storable } from '../store/store.js';
import { close, type Pinned, SHUT_RDWR, SO_TYPE, SOCK_DGRAM, shutdown } from '../syscalls.js';
import { removeIfTwice } from './message.js';
import { readSenderFile, writeSenderFile } from './sender-file.js';

/*
 * How sessions of unix datagrams outlive the process: with the socket by whose address the target knows them. What has not been sent
 * yet is in the queues of the head and of that socket.
 */

/** The word of the notes about a session for the time at which a datagram last passed. */
const ACTIVE = 0;

/** What a sender and the target have in common. Senders without an address share one: they can have no answer. */
export interface Session extends Watch, Storable {
  openedAt: number;
  /** Whether it outlives the process. */
  isLasting: boolean;
  /** The file with the addresses of the sender and of the target of a stored session; -1 if there is none. */
  senderFile: number;
  /** The address of the target. */
  readonly target: string;
  readonly key: string;
  /** The sockaddr of the sender, in memory that never moves, and its size; 0 without an address. */
  readonly sender: Pinned;
  readonly size: number;
  /** When a datagram last passed, ms, on the clock of the loop. */
  active: number;
  isServed: boolean;
}

/** How a session is stored: its socket, and the file with the address of its sender. */
export const unixDatagrams: Kind<Session> = {
  code: 3,
  prepare(session, stored) {
    const { sender, size, target } = session;
    if (session.senderFile < 0)
      session.senderFile = writeSenderFile({ sender: sender.bytes.subarray(0, size), target });
    noteActive(stored, session.active);
    if (session.isServed) noteFlags(stored, SERVED);
  },
  descriptors: ({ fd, senderFile }) => [fd, senderFile].filter((descriptor) => descriptor >= 0),
  pipes: () => [],
};

/** Notes when a datagram last passed, ms. */
export function noteActive(notes: Notes, at: number): void {
  noteTime(notes, ACTIVE, at);
}

/** What is known of a session of an earlier process. */
export interface StoredSession {
  readonly fd: number;
  /** The sockaddr of the sender. */
  readonly sender: Buffer;
  readonly senderFile: number;
  readonly openedAt: number;
  readonly active: number;
  readonly isServed: boolean;
}

/**
 * Reads a session that came in at `head`. Returns undefined, and has closed its descriptors, if it leads elsewhere than to `target`, or its
 * socket had been closed: the next datagram of the client begins another session. Throws an Error if it cannot be continued.
 */
export function readStoredSession(
  { notes, descriptors }: Remains,
  head: number,
  target: string,
): StoredSession | undefined {
  const fd = descriptors.find((one) => socketOption(one, SO_TYPE) === SOCK_DGRAM) ?? -1;
  const senderFile = descriptors.find((one) => one !== fd) ?? -1;
  removeIfTwice(head, notes, UP);
  const known = readSenderFile(senderFile);
  if (fd < 0 || peerOf(fd) === undefined || known.target !== target) {
    disconnectStored(fd);
    for (const descriptor of descriptors) close(descriptor);
    return undefined;
  }
  removeIfTwice(fd, notes, DOWN);
  return {
    ...{ fd, sender: known.sender, senderFile },
    openedAt: openedAt(notes),
    active: timeOf(notes, ACTIVE),
    isServed: (flagsOf(notes) & SERVED) !== 0,
  };
}

/**
 * Ends a socket of which the service manager has a duplicate. It keeps its name, and would accept from everybody if it were only
 * disconnected.
 */
export function disconnectStored(fd: number): void {
  shutdown(fd, SHUT_RDWR);
  disconnect(fd);
}
