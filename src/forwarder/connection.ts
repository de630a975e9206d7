import type { Address } from './address.js';
import type { Guard } from './allow.js';
import type { Device } from './device.js';
import type { Guide } from './guide.js';
import type { Log } from './log.js';
import { closeLater, type Loop, type Watch } from './loop.js';
import { discard, giveBack, type Pipe, type Pool } from './pipes.js';
import { resetOnClose } from './reset.js';
import { liftLimit } from './silence.js';
import { EPOLLIN, EPOLLPRI, EPOLLRDHUP } from './syscalls.js';
import { stop, type Timer } from './timers.js';

/**
 * Events of a socket that can be read. EPOLLRDHUP says that its FIN is there too, so one more read is worth it; EPOLLPRI
 * that there is urgent data, which splice(2) does not get past.
 */
export const READABLE = EPOLLIN | EPOLLPRI | EPOLLRDHUP;

/** What all connections of the link share. */
export interface Relay {
  readonly loop: Loop;
  readonly pool: Pool;
  readonly log: Log;
  /** The target; undefined while nobody knows its address. Changed by aim() only, with `target`. */
  to: Address | undefined;
  /** The target in words: "127.0.0.1:3306 in container mysql". */
  target: string;
  /** Where the target is, in words. */
  readonly place: string | undefined;
  /** Lets clients in; undefined: everybody is served. */
  readonly guard: Guard | undefined;
  /** The network interface through which clients are served; undefined: any. */
  readonly device: Device | undefined;
  /** Where to ask for the target when it cannot be reached; undefined on a plain link. */
  readonly guide: Guide | undefined;
  /** How long the target's machine may be silent, ms; undefined: as long as the kernel waits. */
  readonly targetSilence: number | undefined;
  /** How long the client's machine may be silent, ms; undefined: as long as the kernel waits. */
  readonly clientSilence: number | undefined;
  /** The open connections, where somebody has to go through them; undefined on a plain link, which saves their keep. */
  readonly connections: Set<Connection> | undefined;
  /** How long the target may refuse before a client is sent away, ms. */
  readonly dialTimeout: number;
  /** Says whether whoever was to start the target has given up: then it need not be waited for. */
  readonly hopeless: () => boolean;
  /** Connections now. */
  open: number;
  /** Connections ever. */
  served: number;
  /** Bytes ever read from either side. */
  bytes: number;
  /** Called when a connection begins and when it is closed. */
  onOpen: () => void;
  onClose: () => void;
  /** Flows that wait for a pipe and for memory, the longest waiting first, and what wakes them if nothing else does. */
  readonly starved: Flow[];
  readonly memoryless: Flow[];
  readonly starvedTimer: Timer;
  /** Sockets of bulk streams that are ready, the longest waiting first. */
  readonly turns: End[];
  /** Until when small messages are expected, ms, on the clock of the loop. */
  smallUntil: number;
}

/** One of the two sockets of a connection. */
export interface End extends Watch {
  readonly connection: Connection;
  /** The direction that reads from this socket. */
  readonly reads: Flow;
  /** The direction that writes to it. */
  readonly writes: Flow;
  /** Whether the peer reset the connection, or the kernel gave it up: nothing can be written any more. */
  reset: boolean;
  /** The events with which it waits for its turn; 0 while it does not wait. */
  queued: number;
  /** Whether bytes have been written to it. */
  written: boolean;
  /** Whether Nagle's algorithm is off (TCP_NODELAY, tcp(7)). Clients inherit that from their listener. */
  noDelay: boolean;
}

/** One of the two directions of a connection. It reads from `from` while it holds no bytes. */
export interface Flow {
  readonly from: End;
  readonly to: End;
  /** Borrowed while bytes are in flight. */
  pipe: Pipe | undefined;
  /** Bytes in the pipe. */
  held: number;
  /** Whether `from` has said its last byte: its FIN was read, or its reset after the last byte before it. */
  ended: boolean;
  /** Whether nothing is left to do: the end was passed on, or there is nobody to pass anything to. */
  done: boolean;
  /** Whether it is in the list of flows that wait for a pipe or for memory. */
  starved: boolean;
  /** Whether it carries a bulk stream. */
  isBulk: boolean;
  /** Small reads in a row since it has. */
  smallReads: number;
}

/** A client and the target's side of it. Idle, it is two descriptors and this. */
export interface Connection {
  readonly relay: Relay;
  readonly client: End;
  readonly target: End;
  /** From the client to the target. */
  readonly up: Flow;
  /** From the target to the client. */
  readonly down: Flow;
  /** Whether the target is known to have accepted. Until then `target.fd` may be -1. */
  connected: boolean;
  /** errno of the last dial that failed. */
  failure: number;
  /** When the last dial began, ms, on the clock of the loop. */
  dialled: number;
  /** When dialling is given up, ms, on the clock of the loop. */
  deadline: number;
  /** While dialling, when to go on or give up; while a reset waits for the bytes before it, when to look again. */
  readonly timer: Timer;
  /** How long that wait was last time, ms. */
  wait: number;
  closed: boolean;
}

/** Closes both sockets and gives back what the connection has borrowed. */
export function close(connection: Connection): void {
  if (connection.closed) return;
  const { relay, client, target, up, down } = connection;
  connection.closed = true;
  up.done = true;
  down.done = true;
  stop(relay.loop.timers, connection.timer);
  if (relay.clientSilence !== undefined) liftLimit(client.fd);
  if (relay.targetSilence !== undefined) liftLimit(target.fd);
  closeLater(relay.loop, client);
  closeLater(relay.loop, target);
  empty(relay, up);
  empty(relay, down);
  relay.open -= 1;
  relay.connections?.delete(connection);
  relay.onClose();
}

/** Closes both sockets; whoever still listens at `end` sees a reset. */
export function closeWithReset(connection: Connection, end: End): void {
  if (end.fd >= 0) resetOnClose(end.fd);
  close(connection);
}

/** Takes the pipe from a flow, and with it the bytes that nobody will get. */
export function empty(relay: Relay, flow: Flow): void {
  if (flow.pipe === undefined) return;
  if (flow.held === 0) giveBack(relay.pool, flow.pipe);
  else discard(relay.pool, flow.pipe);
  flow.pipe = undefined;
  flow.held = 0;
}
