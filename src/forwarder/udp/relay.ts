import type { AccessRule } from '../access.js';
import type { Address } from '../address.js';
import type { Counters } from '../counters.js';
import type { Device } from '../device.js';
import type { Log } from '../log.js';
import type { Loop } from '../loop.js';
import type { NamedTargets } from '../named-targets.js';
import type { Resolver } from '../resolver.js';
import type { Register } from '../store/store.js';
import type { Pinned } from '../syscalls.js';
import type { Timer } from '../timers.js';
import type { Messages } from './messages.js';
import type { Head, Session, Sessions } from './sessions.js';

/** Datagrams that one system call receives or sends. */
export const BATCH = 64;

/** What all sessions of a link share. */
export interface UdpRelay {
  readonly loop: Loop;
  readonly log: Log;
  /** The target; undefined while its address is unknown. Changed by retargetSessions() only, with `target`. */
  to: Address | undefined;
  /** The target in words: "127.0.0.1:53 in container dns". */
  target: string;
  /** Which clients are admitted; undefined: all. */
  readonly access: AccessRule | undefined;
  /** The only network interface through which clients are served; undefined: any. */
  readonly device: Device | undefined;
  /** Finds the target when it is unreachable; undefined if it has a fixed address. */
  readonly resolver: Resolver | undefined;
  /** Has the target started again when it refuses; undefined if nothing starts it. */
  readonly restarter: Resolver | undefined;
  /** The addresses of a target that has a name; undefined if it has none. */
  readonly named: NamedTargets | undefined;
  /** Whether starting the target has failed. */
  readonly targetFailed: () => boolean;
  /** How long the first datagram of a session is sent again while the target refuses it, ms. */
  readonly dialTimeout: number;
  /** A session ends after this long without a datagram, ms. */
  readonly timeout: number;
  /** The most sessions at a time. Beyond it, the one that has been quiet the longest ends. */
  readonly maxSessions: number;
  readonly sessions: Sessions;
  /** The sessions that outlive the process; undefined if none do. */
  readonly survivors: Register<Session> | undefined;
  /** What `wormhole list` shows. */
  readonly counters: Counters;
  /** The unit that starts the target, in log messages; undefined if nothing has to. */
  readonly starter: string | undefined;
  /** Datagrams that have been passed on since the start, and those that could not be. */
  datagrams: number;
  dropped: number;
  /** Bytes of the first datagrams that are kept. */
  kept: number;
  /** Memory for the addresses of clients, free for the next session. */
  readonly freeAddresses: Pinned[];
  /** Ends sessions that have been quiet for too long. */
  readonly expiry: Timer;
  /** Datagrams of clients as they are received, and the same as they are sent. */
  readonly requests: Messages;
  readonly forwarded: Messages;
  /** Datagrams of the target that wait to be sent to clients, the same as they are sent, all by the same head, and how many there are. */
  readonly replies: Messages;
  readonly answers: Messages;
  replyCount: number;
  replyHead: Head | undefined;
  /** How many of the messages that these are joined in have been sent: all that the send buffer of the head had room for. */
  sentReplies: number;
  /** The round of the loop in which it has last waited for such room. */
  waitedIn: number;
  /** Full batches of requests in a row: the queue of the head does not get empty. */
  fullBatches: number;
  /** Called when a session begins and when one ends. */
  onOpen: () => void;
  onClose: () => void;
}
