import { peerOf } from '../address.js';
import type { Event } from '../journal.js';
import { add, modify, scheduleClose, unwatch, type Watch } from '../loop.js';
import { createRoomWait } from '../room.js';
import {
  AF_UNIX,
  accept4,
  connect,
  E,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  errno,
  errorWords,
  F_GETFL,
  F_SETFL,
  fcntl,
  O_NONBLOCK,
  pinned,
  SHUT_WR,
  SO_PASSCRED,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  SOL_SOCKET,
  setsockopt,
  shutdown,
  socket,
} from '../syscalls.js';
import { createTimer, start, stop, type Timer } from '../timers.js';
import { type Message, receive, restore, send, store } from './message.js';
import { describeUnreached, type MessageOptions, nextPause } from './relay.js';

/*
 * Connections that keep the boundaries of messages: unix sockets of type SOCK_SEQPACKET (unix(7)). An empty message is one like
 * any other. recv(2) returns 0 for it, as it does at the end; but only messages come with the credentials of their sender.
 */

/** Messages read from one socket before others have their turn, and clients accepted in one go. */
const MOST_A_ROUND = 32;

/** How long accepting pauses when the kernel refuses something, ms. */
const PAUSE_MS = 1000;

const one = pinned(4);
one.words[0] = 1;

/** What a relay of such connections is created with. */
export interface PacketOptions extends MessageOptions {
  /** The most connections at a time. Further clients wait in the backlog of the kernel. */
  readonly maxOpen: number;
}

/** A relay of such connections. */
export interface PacketService {
  /** Connections at the moment. */
  count(): number;
  /** Accepts the clients that are waiting in the backlog. */
  acceptPending(): void;
}

/** One of the two sockets of a connection. */
interface End extends Watch {
  readonly isClient: boolean;
  /** The other one. */
  other: End;
  /** A message read here that the other one has no room for. */
  held: Buffer | undefined;
  /** Has a message for its peer sent later; see createRoomWait(). */
  waitForRoom: (failure: number) => void;
  /** Whether the end has been read. */
  ended: boolean;
  /** Whether the peer has closed. */
  isGone: boolean;
}

interface Pair {
  readonly client: End;
  readonly target: End;
  readonly deadline: number;
  readonly timer: Timer;
  pause: number;
  isConnected: boolean;
  closed: boolean;
}

/** Relays the connections that arrive at the listening unix socket `fd`. */
export function servePackets(fd: number, options: PacketOptions): PacketService {
  const { loop, log, counters, to, dialTimeout, maxOpen } = options;
  let open = 0;

  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
  const listener: Watch = {
    fd,
    wanted: EPOLLIN,
    mask: -1,
    changed: false,
    ready: () => acceptPending(),
    refused: (failure) => pauseAfter('listen', failure),
  };
  const resume = createTimer(() => modify(loop, listener, open < maxOpen ? EPOLLIN : 0));

  function acceptPending(): void {
    for (let n = 0; n < MOST_A_ROUND; n++) {
      if (open >= maxOpen) {
        modify(loop, listener, 0);
        return;
      }
      const client = accept4(fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (client >= 0) {
        serve(client);
        continue;
      }
      const failure = errno();
      if (failure === E.EAGAIN) return;
      if (failure !== E.EINTR && failure !== E.ECONNABORTED) {
        pauseAfter('accept', failure);
        return;
      }
    }
  }

  function pauseAfter(what: string, failure: number): void {
    unwatch(loop, listener);
    start(loop.timers, resume, loop.now + PAUSE_MS);
    const message = `no client could be accepted (${errorWords(failure)})`;
    log.failure(
      `failed ${what} ${failure}`,
      `${message} with ${open} connected; new ones wait for 1 s`,
      (count) => `${message}, ${count} more times in the last 10 s`,
    );
  }

  function serve(clientFd: number): void {
    const client = createEnd(clientFd, true);
    const target = createEnd(-1, false);
    client.other = target;
    target.other = client;
    const pair: Pair = {
      client,
      target,
      deadline: loop.now + dialTimeout,
      timer: createTimer(() => dial(pair)),
      pause: 0,
      isConnected: false,
      closed: false,
    };
    for (const end of [client, target]) {
      end.waitForRoom = createRoomWait(loop, end);
      end.ready = (events) => handle(pair, end, events);
      end.refused = (failure) =>
        abort(pair, 'failed', `the kernel does not watch a socket (${errorWords(failure)})`);
    }
    open += 1;
    counters.open += 1;
    options.onOpen();
    setsockopt(clientFd, SOL_SOCKET, SO_PASSCRED, one.address, 4);
    // Until the target has accepted, only the end of the client is of interest.
    client.wanted = 0;
    add(loop, client);
    if (!pair.closed) dial(pair);
  }

  function dial(pair: Pair): void {
    const { target, client } = pair;
    const fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
      dialFailed(pair, errno());
      return;
    }
    target.fd = fd;
    setsockopt(fd, SOL_SOCKET, SO_PASSCRED, one.address, 4);
    if (connect(fd, to.sockaddr, to.size) < 0) {
      const failure = errno();
      scheduleClose(loop, target);
      dialFailed(pair, failure);
      return;
    }
    pair.isConnected = true;
    counters.served += 1;
    counters.failing = 0;
    target.wanted = EPOLLIN;
    add(loop, target);
    if (pair.closed) return;
    if (client.isGone) read(pair, client);
    else modify(loop, client, EPOLLIN);
  }

  function dialFailed(pair: Pair, failure: number): void {
    if (pair.client.isGone) {
      close(pair);
      return;
    }
    options.restarter?.refresh();
    if (options.targetFailed() || loop.now >= pair.deadline) {
      abort(pair, 'unreachable', describeUnreached(options, failure));
      return;
    }
    pair.pause = nextPause(pair.pause);
    start(loop.timers, pair.timer, Math.min(pair.deadline, loop.now + pair.pause));
  }

  function handle(pair: Pair, end: End, events: number): void {
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0 && !end.isGone) {
      end.isGone = true;
      // Nothing else silences it. What is left to read is read now, or when the other side has room.
      unwatch(loop, end);
    }
    if (!pair.isConnected) return;
    if ((events & EPOLLOUT) !== 0) flush(pair, end.other);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) !== 0) read(pair, end);
    if (pair.closed || !end.isGone) return;
    // It has ended before, and now it receives nothing more either.
    if (end.ended && end.held === undefined) close(pair);
    else if (end.other.held !== undefined) flush(pair, end.other);
  }

  function read(pair: Pair, end: End): void {
    for (let n = 0; !pair.closed && !end.ended && end.held === undefined; n++) {
      if (n === MOST_A_ROUND && !end.isGone) return;
      const message = receive(end.fd, { withCredentials: true });
      if (message === undefined) {
        const failure = errno();
        if (failure === E.EINTR) continue;
        // The peer has closed with messages unread.
        if (failure !== E.EAGAIN || end.isGone) close(pair);
        return;
      }
      if (message.length === 0 && !message.hasCredentials) {
        finish(pair, end);
        return;
      }
      if (message.isTruncated) {
        abort(pair, 'dropped', 'a message of more than 1 MiB cannot be passed on');
        return;
      }
      if (end.isClient) {
        counters.bytesFromClients += message.length;
        counters.datagramsFromClients += 1;
      } else {
        counters.bytesFromTarget += message.length;
        counters.datagramsFromTarget += 1;
      }
      deliver(pair, end, message);
    }
  }

  function deliver(pair: Pair, from: End, message: Pick<Message, 'address' | 'length'>): void {
    const { other } = from;
    if (send(other.fd, message) >= 0) return;
    const failure = errno();
    if (failure === E.EAGAIN || failure === E.ENOBUFS) {
      from.held = store(message);
      if (!from.isGone) modify(loop, from, from.wanted & ~EPOLLIN);
      other.waitForRoom(failure);
    } else if (failure === E.EMSGSIZE) {
      abort(pair, 'dropped', `a message of ${message.length} bytes is too large to send`);
    } else {
      close(pair);
    }
  }

  /** Sends what was read from `from`, now that the other side has room, and reads on. */
  function flush(pair: Pair, from: End): void {
    const { held, other } = from;
    modify(loop, other, other.wanted & ~EPOLLOUT);
    if (held === undefined) return;
    from.held = undefined;
    deliver(pair, from, restore(held));
    if (pair.closed || from.held !== undefined) return;
    if (!from.isGone && !from.ended) modify(loop, from, from.wanted | EPOLLIN);
    read(pair, from);
  }

  /** Passes on the end of `from`, all of whose messages have been delivered. */
  function finish(pair: Pair, from: End): void {
    from.ended = true;
    const { other } = from;
    if (other.ended || from.isGone) {
      close(pair);
      return;
    }
    modify(loop, from, from.wanted & ~EPOLLIN);
    shutdown(other.fd, SHUT_WR);
  }

  function abort(pair: Pair, event: Event, reason: string): void {
    if (pair.closed) return;
    if (!pair.isConnected) counters.fail(reason);
    log.failure(
      `${event} ${reason}`,
      `${reason}; closed the client ${peerOf(pair.client.fd) ?? '(gone)'}; the next connection tries again`,
      (count) => `${reason}; closed ${count} more client${count === 1 ? '' : 's'} in the last 10 s`,
    );
    close(pair);
  }

  function close(pair: Pair): void {
    if (pair.closed) return;
    pair.closed = true;
    stop(loop.timers, pair.timer);
    for (const end of [pair.client, pair.target]) scheduleClose(loop, end);
    open -= 1;
    counters.open -= 1;
    if (open === maxOpen - 1) modify(loop, listener, EPOLLIN);
    options.onClose();
  }

  add(loop, listener);
  return { count: () => open, acceptPending };
}

function createEnd(fd: number, isClient: boolean): End {
  const end: Omit<End, 'other'> = {
    fd,
    wanted: 0,
    mask: -1,
    changed: false,
    ready: () => {},
    refused: () => {},
    isClient,
    held: undefined,
    waitForRoom: () => {},
    ended: false,
    isGone: false,
  };
  return end as End;
}
