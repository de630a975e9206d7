import { add, modify, scheduleClose, unwatch, type Watch } from '../loop.js';
import { DOWN, ENDED, noteFlags, SERVED, UP } from '../store/memory.js';
import type { Remains, Resume } from '../store/open.js';
import type { Register } from '../store/store.js';
import {
  AF_UNIX,
  close,
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
import { type Message, passOn, peek, remove } from './message.js';
import { describeUnreached, type MessageOptions, nextPause } from './relay.js';
import { disconnectStored, noteActive, readStoredSession, type Session } from './stored-datagrams.js';

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

/**
 * A session outlives the process if a datagram passes when it is this old, or if its last one has not been answered for this long, ms. One short
 * exchange costs nothing.
 */
const LASTING_MS = 500;
const UNANSWERED_MS = 1000;

/** What a relay of the datagrams of unix sockets is created with. */
export interface UnixDatagramOptions extends MessageOptions {
  /** A session ends after this long without a datagram, ms. */
  readonly timeout: number;
  /** The most sessions at a time. Beyond it, the one that has been quiet the longest ends. */
  readonly maxSessions: number;
  /** The sessions that outlive the process; undefined if none do. */
  readonly survivors: Register<Session> | undefined;
}

/** A relay of the datagrams of unix sockets. */
export interface UnixDatagramService {
  /** Sessions at the moment. */
  count(): number;
  /** Reads the datagrams that wait at the head. */
  readPending(): void;
  /** Continues a session of an earlier process. */
  readonly resume: Resume;
  /** To be called after the last of them. */
  resumed(): void;
  /** Has all sessions outlive the process. */
  outliveAll(): void;
}

const one = pinned(4);
one.words[0] = 1;

/** Relays the datagrams that arrive at the unix socket `fd`. */
export function serveUnixDatagrams(fd: number, options: UnixDatagramOptions): UnixDatagramService {
  const { loop, log, counters, to, target, dialTimeout, timeout, maxSessions, survivors } = options;
  const sessions = new Map<string, Session>();
  const spare: Pinned[] = [];
  /** The session whose datagram is the next one at the head while the target has no room for it. */
  let blocked: Session | undefined;
  /** Since when the target has been unreachable, and when it was found so last, ms. */
  let failingSince: number | undefined;
  let failedAt = 0;
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
  const rewatch = createTimer(() => modify(loop, head, blocked === undefined ? EPOLLIN : 0));
  const retry = createTimer(() => retryBlocked());
  const retryReplies = createTimer(() => sendReplies());
  const expiry = createTimer(() => expire());
  /** Sessions whose next answer waits until the client has room. */
  const waiting = new Set<Session>();
  /** Sessions that may wait for an answer, in the order in which they began to. */
  const unanswered = new Set<Session>();
  const unansweredTimer = createTimer(() => outliveUnanswered());

  function readHead(): void {
    for (let n = 0; n < MOST_A_ROUND && blocked === undefined; n++) {
      const message = peek(fd);
      if (message === undefined) return;
      if (message.isTruncated) {
        takeFromHead(message);
        drop('long', 'a datagram of more than 1 MiB');
      } else forward(sessionOf(message.sender), message);
    }
  }

  /** Removes a datagram that is not passed on. */
  function takeFromHead(message: Message): void {
    countUp(message);
    remove(fd);
  }

  function countUp({ length }: Message): void {
    counters.bytesFromClients += length;
    counters.datagramsFromClients += 1;
  }

  function sessionOf(sender: Buffer): Session {
    const known = sessions.get(sender.toString('latin1'));
    if (known !== undefined) return touch(known);
    makeRoom();
    return createSession(sender);
  }

  function createSession(from: Buffer): Session {
    const key = from.toString('latin1');
    const sender = spare.pop() ?? pinned(SIZE_UNIX + 2);
    from.copy(sender.bytes);
    const session: Session = {
      openedAt: loop.now,
      isLasting: false,
      stored: undefined,
      senderFile: -1,
      target: to.text,
      fd: -1,
      wanted: EPOLLIN,
      mask: -1,
      changed: false,
      ready: (events) => {
        if ((events & EPOLLIN) !== 0) readReplies(session);
        if ((events & (EPOLLERR | EPOLLHUP)) !== 0) disconnect(session);
        else if ((events & EPOLLOUT) !== 0) retryBlocked();
      },
      refused: () => disconnect(session),
      key,
      sender,
      size: from.length,
      active: loop.now,
      isServed: false,
    };
    sessions.set(key, session);
    counters.open += 1;
    if (expiry.index < 0) start(loop.timers, expiry, loop.now + timeout);
    options.onOpen();
    return session;
  }

  function resumeSession(remains: Remains): boolean {
    const known = readStoredSession(remains, fd, to.text);
    if (known === undefined) return false;
    const session = createSession(known.sender);
    session.senderFile = known.senderFile;
    session.openedAt = known.openedAt;
    session.active = Math.min(known.active, loop.now);
    session.isServed = known.isServed;
    session.fd = known.fd;
    add(loop, session);
    outlive(session);
    return true;
  }

  /** Brings the sessions that have been continued into the order of activity, and ends those that are too many or too old. */
  function resumed(): void {
    const sorted = [...sessions].sort(([, one], [, other]) => one.active - other.active);
    sessions.clear();
    for (const [key, session] of sorted) sessions.set(key, session);
    while (sessions.size > maxSessions) end(sorted.shift()?.[1] as Session);
    expire();
  }

  function outlive(session: Session): void {
    if (session.isLasting || survivors === undefined) return;
    session.isLasting = true;
    survivors.opened(session);
  }

  function outliveUnanswered(): void {
    for (const session of unanswered) {
      const due = session.active + UNANSWERED_MS;
      if (due > loop.now) {
        start(loop.timers, unansweredTimer, due);
        return;
      }
      unanswered.delete(session);
      outlive(session);
    }
  }

  /** Makes a session the last one of the map, which is in the order of activity. */
  function touch(session: Session): Session {
    session.active = loop.now;
    if (session.stored !== undefined) noteActive(session.stored, loop.now);
    else if (loop.now >= session.openedAt + LASTING_MS) outlive(session);
    sessions.delete(session.key);
    sessions.set(session.key, session);
    return session;
  }

  function forward(session: Session, message: Message): void {
    // A target that has restarted is another socket at the same address.
    for (let attempt = 0; attempt < 2; attempt++) {
      const unreached = session.fd < 0 ? dial(session) : 0;
      if (unreached !== 0) {
        waitOrDrop(session, message, unreached);
        return;
      }
      const failure = passOn(message, { from: fd, to: session.fd, notes: session.stored, part: UP });
      if (failure === 0) {
        countUp(message);
        sent(session);
        return;
      }
      if (failure === E.EAGAIN || failure === E.ENOBUFS) {
        block(session);
        if (failure === E.EAGAIN) modify(loop, session, session.wanted | EPOLLOUT);
        else start(loop.timers, retry, loop.now + nextPause(0));
        return;
      }
      if (failure === E.EMSGSIZE) {
        takeFromHead(message);
        drop('size', `a datagram of ${message.length} bytes, too large to send`);
        return;
      }
      disconnect(session);
      if (attempt > 0) waitOrDrop(session, message, failure);
    }
  }

  function sent(session: Session): void {
    failingSince = undefined;
    pause = 0;
    counters.failing = 0;
    if (!session.isLasting && session.size > 0) {
      unanswered.delete(session);
      unanswered.add(session);
      if (unansweredTimer.index < 0) start(loop.timers, unansweredTimer, loop.now + UNANSWERED_MS);
    }
    if (session.isServed) return;
    session.isServed = true;
    if (session.stored !== undefined) noteFlags(session.stored, SERVED);
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
    if (failure === 0 && session.fd >= 0) {
      session.stored?.store.request();
      return 0;
    }
    disconnect(session);
    return failure || E.ENOMEM;
  }

  function disconnect(session: Session): void {
    closeSocket(session);
    if (blocked === session) start(loop.timers, retry, loop.now + nextPause(0));
  }

  function closeSocket(session: Session): void {
    if (session.fd >= 0 && session.stored !== undefined) {
      // The service manager has a duplicate, with which it would still receive, and have events.
      unwatch(loop, session);
      session.wanted = EPOLLIN;
      disconnectStored(session.fd);
    }
    scheduleClose(loop, session);
  }

  /** Leaves a datagram at the head while the target may be starting, and drops it when that takes too long. */
  function waitOrDrop(session: Session, message: Message, failure: number): void {
    // After a while in which nobody has asked, it may be starting again.
    if (failingSince === undefined || loop.now > failedAt + dialTimeout) failingSince = loop.now;
    failedAt = loop.now;
    options.restarter?.refresh();
    if (options.targetFailed() || loop.now >= failingSince + dialTimeout) {
      takeFromHead(message);
      const reason = describeUnreached(options, failure);
      counters.fail(reason);
      log.failure(
        `unreachable datagram ${failure}`,
        `${reason}; dropped a datagram; the next one tries again`,
        (count) => `${reason}; dropped ${count} more datagram${count === 1 ? '' : 's'} in the last 10 s`,
      );
      return;
    }
    block(session);
    pause = nextPause(pause);
    start(loop.timers, retry, loop.now + pause);
  }

  function block(session: Session): void {
    blocked = session;
    modify(loop, head, 0);
  }

  function retryBlocked(): void {
    if (blocked === undefined) return;
    const session = blocked;
    blocked = undefined;
    if (session.fd >= 0) modify(loop, session, session.wanted & ~EPOLLOUT);
    readHead();
    if (blocked === undefined) modify(loop, head, EPOLLIN);
  }

  function readReplies(session: Session): void {
    for (let n = 0; n < MOST_A_ROUND && session.fd >= 0 && !waiting.has(session); n++) {
      const message = peek(session.fd);
      if (message === undefined) return;
      unanswered.delete(session);
      if (message.isTruncated) {
        takeReply(session, message);
        drop('long', 'an answer of more than 1 MiB');
      } else if (session.size > 0) answer(session, message);
      else takeReply(session, message);
    }
  }

  /** Removes an answer that is not passed on. */
  function takeReply(session: Session, message: Message): void {
    answered(session, message);
    remove(session.fd);
  }

  function answered(session: Session, { length }: Message): void {
    touch(session);
    counters.bytesFromTarget += length;
    counters.datagramsFromTarget += 1;
  }

  function answer(session: Session, message: Message): void {
    const { sender, size, stored } = session;
    const address = { address: sender.address, size };
    const failure = passOn(message, { from: session.fd, to: fd, address, notes: stored, part: DOWN });
    if (failure === 0) {
      answered(session, message);
    } else if (failure === E.EAGAIN || failure === E.ENOBUFS) {
      waiting.add(session);
      modify(loop, session, session.wanted & ~EPOLLIN);
      if (retryReplies.index < 0) start(loop.timers, retryReplies, loop.now + REPLY_PAUSE_MS);
    } else {
      takeReply(session, message);
      if (failure === E.ECONNREFUSED || failure === E.ENOENT) {
        // What it has sent last may wait for room at the target, and nothing is read from the head before it has left by this socket.
        if (blocked !== session) end(session);
        return;
      }
      const name = sender.bytes.toString('utf8', 2, size).replace(/^\0/, '@').replace(/\0$/, '');
      drop(`answer ${failure}`, `an answer to ${name}, which may not be sent (${errorWords(failure)})`);
    }
  }

  function sendReplies(): void {
    for (const session of [...waiting]) {
      waiting.delete(session);
      readReplies(session);
      if (!waiting.has(session) && session.fd >= 0) modify(loop, session, session.wanted | EPOLLIN);
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
    unanswered.delete(session);
    waiting.delete(session);
    closeSocket(session);
    if (session.stored !== undefined) noteFlags(session.stored, ENDED);
    if (session.isLasting) survivors?.ended(session);
    if (session.senderFile >= 0) close(session.senderFile);
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
      if (blocked === session) touch(session);
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
  return {
    count: () => sessions.size,
    readPending: readHead,
    resume: resumeSession,
    resumed,
    outliveAll: () => {
      for (const session of sessions.values()) outlive(session);
    },
  };
}
