import { peerOf } from '../address.js';
import type { Event } from '../journal.js';
import { add, modify, scheduleClose, unwatch, type Watch } from '../loop.js';
import { createSendRetry } from '../send-retry.js';
import { CONNECTED, DOWN, ENDED, noteFlags, type Part, UP } from '../store/memory.js';
import type { Remains, Resume } from '../store/open.js';
import type { Register } from '../store/store.js';
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
  SHUT_RDWR,
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
import { createTimer, start, stop } from '../timers.js';
import { type Message, passOn, peek } from './message.js';
import { describeUnreached, type MessageOptions, nextPause } from './relay.js';
import { type End, type Pair, readStoredPair } from './stored-packets.js';

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
  /** The connections that outlive the process; undefined if none do. */
  readonly survivors: Register<Pair> | undefined;
}

/** A relay of such connections. */
export interface PacketService {
  /** Connections at the moment. */
  count(): number;
  /** Continues a connection of an earlier process. */
  readonly resume: Resume;
  /** Accepts the clients that are waiting in the backlog. */
  acceptPending(): void;
}

/** Relays the connections that arrive at the listening unix socket `fd`. */
export function servePackets(fd: number, options: PacketOptions): PacketService {
  const { loop, log, counters, to, dialTimeout, maxOpen, survivors } = options;
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
    const pair = createPair(clientFd);
    opened(pair);
    setsockopt(clientFd, SOL_SOCKET, SO_PASSCRED, one.address, 4);
    add(loop, pair.client);
    if (!pair.closed) dial(pair);
  }

  function createPair(clientFd: number): Pair {
    const client = createEnd(clientFd, UP);
    const target = createEnd(-1, DOWN);
    client.other = target;
    target.other = client;
    const pair: Pair = {
      openedAt: loop.now,
      stored: undefined,
      client,
      target,
      deadline: loop.now + dialTimeout,
      timer: createTimer(() => dial(pair)),
      pause: 0,
      isConnected: false,
      isEnding: false,
      closed: false,
    };
    for (const end of [client, target]) {
      end.retrySend = createSendRetry(loop, end);
      end.ready = (events) => handle(pair, end, events);
      end.refused = (failure) =>
        abort(pair, 'failed', `the kernel does not watch a socket (${errorWords(failure)})`);
    }
    // Until the target has accepted, only the end of the client is of interest.
    client.wanted = 0;
    return pair;
  }

  function opened(pair: Pair): void {
    open += 1;
    counters.open += 1;
    options.onOpen();
    survivors?.opened(pair);
  }

  function dial(pair: Pair): void {
    const { target, stored } = pair;
    // The store has a duplicate of the socket, which is connected with it.
    if (target.fd < 0) {
      const fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd < 0) {
        dialFailed(pair, errno());
        return;
      }
      target.fd = fd;
      setsockopt(fd, SOL_SOCKET, SO_PASSCRED, one.address, 4);
      stored?.store.request();
    }
    if (connect(target.fd, to.sockaddr, to.size) < 0) {
      dialFailed(pair, errno());
      return;
    }
    counters.served += 1;
    counters.failing = 0;
    begin(pair);
  }

  /** Passes messages on, now that the target has accepted. */
  function begin(pair: Pair): void {
    const { client, target } = pair;
    pair.isConnected = true;
    if (pair.stored !== undefined) noteFlags(pair.stored, CONNECTED);
    target.wanted = EPOLLIN;
    add(loop, target);
    if (pair.closed) return;
    if (client.isGone) read(pair, client);
    else modify(loop, client, EPOLLIN);
  }

  /** Throws an Error if a connection cannot be continued. */
  function resumePair(remains: Remains): true {
    const known = readStoredPair(remains);
    const pair = createPair(known.client);
    pair.openedAt = known.openedAt;
    pair.deadline = known.deadline;
    pair.target.fd = known.target;
    opened(pair);
    add(loop, pair.client);
    if (pair.closed) return true;
    const isConnected = known.target >= 0;
    if (isConnected && !known.wasConnected) counters.served += 1;
    if (isConnected) begin(pair);
    else start(loop.timers, pair.timer, loop.now);
    return true;
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
    if (end.ended) close(pair);
    else if (end.other.isBlocked) flush(pair, end.other);
  }

  function read(pair: Pair, end: End): void {
    for (let n = 0; !pair.closed && !end.ended && !end.isBlocked; n++) {
      if (n === MOST_A_ROUND && !end.isGone && !pair.isEnding) return;
      const message = peek(end.fd, { withCredentials: true });
      if (message === undefined) {
        const failure = errno();
        // The peer has closed with messages unread, which is reported once. What it has sent before that can be read.
        if (failure === E.EINTR || failure === E.ECONNRESET) continue;
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
      deliver(pair, end, message);
    }
  }

  function deliver(pair: Pair, from: End, message: Message): void {
    const { other, part } = from;
    const failure = passOn(message, { from: from.fd, to: other.fd, notes: pair.stored, part });
    if (failure === 0) {
      count(part, message.length);
    } else if (failure === E.EAGAIN || failure === E.ENOBUFS) {
      from.isBlocked = true;
      if (!from.isGone) modify(loop, from, from.wanted & ~EPOLLIN);
      other.retrySend(failure);
    } else if (failure === E.EMSGSIZE) {
      abort(pair, 'dropped', `a message of ${message.length} bytes is too large to send`);
    } else {
      closeAfter(pair, other);
    }
  }

  /** Closes a connection when what an end that takes nothing more has sent before is passed on. */
  function closeAfter(pair: Pair, last: End): void {
    if (!pair.isEnding) {
      pair.isEnding = true;
      read(pair, last);
    }
    close(pair);
  }

  function count(part: Part, length: number): void {
    if (part === UP) {
      counters.bytesFromClients += length;
      counters.datagramsFromClients += 1;
    } else {
      counters.bytesFromTarget += length;
      counters.datagramsFromTarget += 1;
    }
  }

  /** Reads on from `from`, now that the other side has room. */
  function flush(pair: Pair, from: End): void {
    const { other } = from;
    modify(loop, other, other.wanted & ~EPOLLOUT);
    if (!from.isBlocked) return;
    from.isBlocked = false;
    if (!from.isGone) modify(loop, from, from.wanted | EPOLLIN);
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
    for (const end of [pair.client, pair.target]) {
      // close(2) ends nothing while the service manager has a duplicate, and does not take that out of epoll (epoll(7)).
      if (pair.stored !== undefined && end.fd >= 0) {
        unwatch(loop, end);
        shutdown(end.fd, SHUT_RDWR);
      }
      scheduleClose(loop, end);
    }
    if (pair.stored !== undefined) noteFlags(pair.stored, ENDED);
    survivors?.ended(pair);
    open -= 1;
    counters.open -= 1;
    if (open === maxOpen - 1) modify(loop, listener, EPOLLIN);
    options.onClose();
  }

  add(loop, listener);
  return { count: () => open, acceptPending, resume: resumePair };
}

function createEnd(fd: number, part: Part): End {
  const end: Omit<End, 'other'> = {
    fd,
    wanted: 0,
    mask: -1,
    changed: false,
    ready: () => {},
    refused: () => {},
    part,
    isBlocked: false,
    retrySend: () => {},
    ended: false,
    isGone: false,
  };
  return end as End;
}
