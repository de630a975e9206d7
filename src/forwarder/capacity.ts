import { connectionsFor, descriptorLimit, FDS_A_WORKER, sessionsFor } from './descriptor-limit.js';
import type { PassedSockets } from './listen.js';
import type { Options } from './options.js';

/** The most sessions that have notes: these are in a file of 128 bytes for each, and LimitFSIZE= of the unit is 16 MiB. */
const MOST_NOTES = 120_000;

/** What a forwarder has room for at a time. */
export interface Capacity {
  /** Connections whose bytes it relays. */
  readonly maxOpen: number;
  /** Clients of its listening sockets. A front forwarder, which has no descriptors for the sessions, lets in as many as it was told. */
  readonly maxClients: number;
  /** Sessions of datagrams. */
  readonly maxSessions: number;
  /** Sessions that can outlive the process. */
  readonly maxStored: number;
  /** What `wormhole list` shows as the limit of the link. */
  readonly limit: number;
}

/** The limits that its options set, lowered to what its file descriptors suffice for with `workers` threads. */
export function capacityOf(
  options: Pick<Options, 'maxOpen' | 'maxSessions' | 'balance'>,
  { streams, datagrams, unixDatagrams }: PassedSockets,
  workers: number,
): Capacity {
  const descriptors = descriptorLimit();
  const maxOpen = Math.min(options.maxOpen, connectionsFor(descriptors - FDS_A_WORKER * workers));
  const maxClients = options.balance === undefined ? maxOpen : options.maxOpen;
  const maxSessions = Math.min(options.maxSessions, sessionsFor(descriptors));
  const ofDatagrams = datagrams.length === 0 ? 0 : maxSessions;
  return {
    maxOpen,
    maxClients,
    maxSessions,
    // More than are served at a time: the limit may have been lowered, and sessions that have ended keep their notes for a moment.
    maxStored: Math.min(
      connectionsFor(descriptors) + ofDatagrams + (unixDatagrams.length === 0 ? 0 : maxSessions),
      MOST_NOTES,
    ),
    // Clients beyond the limit of sessions do not wait, so that limit alone is none to tell of.
    limit: streams.length === 0 ? 0 : maxClients + ofDatagrams,
  };
}
