import { add, modify, scheduleClose, unwatch, type Watch } from '../loop.js';
import {
  AF_UNIX,
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
  type Pinned,
  pinned,
  SO_PASSCRED,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  setsockopt,
  socket,
} from '../syscalls.js';
import { createTimer, start } from '../timers.js';
import { SIZE_UNIX } from './address.js';
import { type Message, receive, restore, send, store } from './message.js';
import { describeUnreached, type MessageOptions, nextPause } from './relay.js';

/*
 * Datagrams of unix sockets (unix(7)). Unlike those of UDP they are not lost: a sender waits while the queue of the receiver is
 * full. So while the target's is, nothing is read from the head.
 */

/** Datagrams read from one socket before others have their turn. */
const MOST_A_ROUND = 64;

/** The pause before an answer is sent again to a client whose queue is full, ms. The kernel does not tell when it has room. */
const REPLY_PAUSE_MS = 5;

/** How long the head is not watched after the kernel has refused that, ms. */
const WATCH_PAUSE_MS = 1000;

/** What a relay of the datagrams of unix sockets is created with. */
export interface UnixDatagramOptions extends MessageOptions {
  /** A session ends after this long without a datagram, ms. */
  readonly timeout: number;
  /** The most sessions at a time. Beyond it, the one that has been quiet the longest ends. */
  readonly maxSessions: number;
}

/** A relay of the datagrams of unix sockets. */
export interface UnixDatagramService {
  /** Sessions at the moment. */
  count(): number;
  /** Reads the datagrams that wait at the head. */
  readPending(): void;
}

/** What a sender and the target have in common. Senders without an address share one: they can have no answer. */
interface Session extends Watch {
  readonly key: string;
  /** The sockaddr of the sender, in memory that never moves, and its size; 0 without an address. */
  readonly sender: Pinned;
  readonly size: number;
  /** When a datagram last passed, ms, on the clock of the loop. */
  active: number;
  /** An answer that the sender has no room for. */
  reply: Buffer | undefined;
  isServed: boolean;
}

/** A datagram in memory. */
type Datagram = Pick<Message, 'address' | 'length'>;

const one = pinned(4);
one.words[0] = 1;

/** Relays the datagrams that arrive at the unix socket `fd`. */
export function serveUnixDatagrams(fd: number, options: UnixDatagramOptions): UnixDatagramService {
  const { loop, log, counters, to, target, dialTimeout, timeout, maxSessions } = options;
  const sessions = new Map<string, Session>();
  const spare: Pinned[] = [];
  /** The datagram that the target does not take at the moment. */
  let held: { session: Session; bytes: Buffer } | undefined;
  let failingSince: number | undefined;
  let pause = 0;

  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
  const head: Watch = {
    fd,
    wanted: EPOLLIN,
    mask: -1,
    changed: false,
    ready: () => readHead(),
    refused: (failure) => {
      start(loop.timers, rewatch, loop.now + WATCH_PAUSE_MS);
      const message = `the kernel does not watch a listening socket (${errorWords(failure)})`;
      log.failure(
        `failed listen ${failure}`,
        `${message}; datagrams wait for 1 s`,
        (count) => `${message}, ${count} more times in the last 10 s`,
      );
    },
  };
  const rewatch = createTimer(() => modify(loop, head, held === undefined ? EPOLLIN : 0));
  const retry = createTimer(() => retryHeld());
  const retryReplies = createTimer(() => sendReplies());
  const expiry = createTimer(() => expire());

  function readHead(): void {
    for (let n = 0; n < MOST_A_ROUND && held === undefined; n++) {
      const message = receive(fd);
      if (message === undefined) return;
      counters.bytesFromClients += message.length;
      counters.datagramsFromClients += 1;
      if (message.isTruncated) drop('long', 'a datagram of more than 1 MiB');
      else forward(sessionOf(message.sender), message);
    }
  }

  function sessionOf(sender: Buffer): Session {
    const key = sender.toString('latin1');
    const known = sessions.get(key);
    if (known !== undefined) return touch(known);
    makeRoom();
    const memory = spare.pop() ?? pinned(SIZE_UNIX + 2);
    sender.copy(memory.bytes);
    const session: Session = {
      fd: -1,
      wanted: EPOLLIN,
      mask: -1,
      changed: false,
      ready: (events) => {
        if ((events & EPOLLIN) !== 0) readReplies(session);
        if ((events & (EPOLLERR | EPOLLHUP)) !== 0) disconnect(session);
        else if ((events & EPOLLOUT) !== 0) retryHeld();
      },
      refused: () => disconnect(session),
      key,
      sender: memory,
      size: sender.length,
      active: loop.now,
      reply: undefined,
      isServed: false,
    };
    sessions.set(key, session);
    counters.open += 1;
    if (expiry.index < 0) start(loop.timers, expiry, loop.now + timeout);
    options.onOpen();
    return session;
  }

  /** Makes a session the last one of the map, which is in the order of activity. */
  function touch(session: Session): Session {
    session.active = loop.now;
    sessions.delete(session.key);
    sessions.set(session.key, session);
    return session;
  }

  function forward(session: Session, message: Datagram): void {
    // A target that has restarted is another socket at the same address.
    for (let attempt = 0; attempt < 2; attempt++) {
      const failure = session.fd < 0 ? dial(session) : 0;
      if (failure !== 0) {
        holdOrDrop(session, message, failure);
        return;
      }
      if (send(session.fd, message) >= 0) {
        sent(session);
        return;
      }
      const code = errno();
      if (code === E.EAGAIN || code === E.ENOBUFS) {
        hold(session, message);
        if (code === E.EAGAIN) modify(loop, session, session.wanted | EPOLLOUT);
        else start(loop.timers, retry, loop.now + nextPause(0));
        return;
      }
      if (code === E.EMSGSIZE) {
        drop('size', `a datagram of ${message.length} bytes, too large to send`);
        return;
      }
      disconnect(session);
      if (attempt > 0) holdOrDrop(session, message, code);
    }
  }

  function sent(session: Session): void {
    failingSince = undefined;
    pause = 0;
    counters.failing = 0;
    if (session.isServed) return;
    session.isServed = true;
    counters.served += 1;
  }

  /** Connects a socket of the session to the target. Returns errno, or 0. */
  function dial(session: Session): number {
    const socketFd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socketFd < 0) return errno();
    session.fd = socketFd;
    session.wanted = EPOLLIN;
    // The kernel gives the socket a name when it is connected (unix(7)), without which the target could not answer.
    setsockopt(socketFd, SOL_SOCKET, SO_PASSCRED, one.address, 4);
    const failure = connect(socketFd, to.sockaddr, to.size) < 0 ? errno() : 0;
    add(loop, session);
    if (failure === 0 && session.fd >= 0) return 0;
    disconnect(session);
    return failure || E.ENOMEM;
  }

  function disconnect(session: Session): void {
    scheduleClose(loop, session);
    if (held?.session === session) start(loop.timers, retry, loop.now + nextPause(0));
  }

  /** Keeps a datagram while the target may be starting, and drops it when that takes too long. */
  function holdOrDrop(session: Session, message: Datagram, failure: number): void {
    failingSince ??= loop.now;
    options.restarter?.refresh();
    if (options.targetFailed() || loop.now >= failingSince + dialTimeout) {
      const reason = describeUnreached(options, failure);
      counters.fail(reason);
      log.failure(
        `unreachable datagram ${failure}`,
        `${reason}; dropped a datagram; the next one tries again`,
        (count) => `${reason}; dropped ${count} more datagram${count === 1 ? '' : 's'} in the last 10 s`,
      );
      return;
    }
    hold(session, message);
    pause = nextPause(pause);
    start(loop.timers, retry, loop.now + pause);
  }

  function hold(session: Session, message: Datagram): void {
    held = { session, bytes: store(message) };
    modify(loop, head, 0);
  }

  function retryHeld(): void {
    if (held === undefined) return;
    const { session, bytes } = held;
    held = undefined;
    if (session.fd >= 0) modify(loop, session, session.wanted & ~EPOLLOUT);
    touch(session);
    forward(session, restore(bytes));
    if (held === undefined) modify(loop, head, EPOLLIN);
  }

  function readReplies(session: Session): void {
    for (let n = 0; n < MOST_A_ROUND && session.fd >= 0 && session.reply === undefined; n++) {
      const message = receive(session.fd);
      if (message === undefined) return;
      counters.bytesFromTarget += message.length;
      counters.datagramsFromTarget += 1;
      touch(session);
      if (message.isTruncated) drop('long', 'an answer of more than 1 MiB');
      else if (session.size > 0) answer(session, message);
    }
  }

  function answer(session: Session, message: Datagram): void {
    const { sender, size } = session;
    if (send(fd, message, { address: sender.address, size }) >= 0) return;
    const failure = errno();
    if (failure === E.EAGAIN || failure === E.ENOBUFS) {
      session.reply = store(message);
      modify(loop, session, session.wanted & ~EPOLLIN);
      if (retryReplies.index < 0) start(loop.timers, retryReplies, loop.now + REPLY_PAUSE_MS);
    } else if (failure === E.ECONNREFUSED || failure === E.ENOENT) {
      // What it has sent last may wait for room at the target, and nothing is read from the head before it has left by this socket.
      if (held?.session !== session) end(session);
    } else {
      const name = sender.bytes.toString('utf8', 2, size).replace(/^\0/, '@').replace(/\0$/, '');
      drop(`answer ${failure}`, `an answer to ${name}, which may not be sent (${errorWords(failure)})`);
    }
  }

  function sendReplies(): void {
    for (const session of sessions.values()) {
      const { reply } = session;
      if (reply === undefined) continue;
      session.reply = undefined;
      answer(session, restore(reply));
      if (session.reply === undefined && session.fd >= 0) modify(loop, session, session.wanted | EPOLLIN);
    }
  }

  function makeRoom(): void {
    if (sessions.size < maxSessions) return;
    const oldest = sessions.values().next().value;
    if (oldest === undefined) return;
    end(oldest);
    const message = `${maxSessions} clients have a session, which is the limit (--max-sessions); each new one ends the session that has been quiet the longest`;
    log.failure('limited sessions', message, (count) => `${message}: ${count} more in the last 10 s`);
  }

  function end(session: Session): void {
    if (!sessions.delete(session.key)) return;
    unwatch(loop, session);
    scheduleClose(loop, session);
    spare.push(session.sender);
    counters.open -= 1;
    options.onClose();
  }

  function expire(): void {
    for (const session of sessions.values()) {
      if (session.active + timeout > loop.now) {
        start(loop.timers, expiry, session.active + timeout);
        return;
      }
      if (held?.session === session) touch(session);
      else end(session);
    }
  }

  function drop(kind: string, what: string): void {
    log.failure(
      `dropped ${kind}`,
      `dropped ${what}, between ${target} and a client`,
      (count) => `dropped ${what}, and ${count} more in the last 10 s`,
    );
  }

  add(loop, head);
  return { count: () => sessions.size, readPending: readHead };
}
