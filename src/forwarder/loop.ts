import { arch } from 'node:process';
import {
  close,
  E,
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLIN,
  epollCreate,
  epollCtl,
  epollWait,
  errno,
  errorWords,
  nodeBackendFd,
  pinned,
} from './syscalls.js';
import { fireDue, type Timers } from './timers.js';

/** The most events taken from the kernel at once. */
const BATCH = 256;

/*
 * struct epoll_event in 32-bit words. The kernel packs it on x86-64 only (EPOLL_PACKED in linux/eventpoll.h):
 * 12 bytes there; elsewhere 16, with a hole after `events`.
 */
const EVENT_WORDS = arch === 'x64' ? 3 : 4;
const DATA_WORD = EVENT_WORDS - 2;

/** The registered events of a descriptor that is not in epoll. */
const ABSENT = -1;

/** A file descriptor that the loop watches. Its owner extends it with what it needs. */
export interface Watch {
  /** -1 while there is none. */
  fd: number;
  /** The events that the owner waits for. Change them with modify(). */
  wanted: number;
  /** The events registered with epoll, or -1 while the descriptor is not in epoll. */
  mask: number;
  /** Whether it is in the list of changes of the loop. */
  changed: boolean;
  /** Called with the events that occurred. EPOLLERR and EPOLLHUP are reported without being requested. */
  ready(events: number): void;
  /**
   * Called with errno when the kernel refuses to watch the descriptor as requested (ENOSPC, ENOMEM:
   * epoll_ctl(2)). No event comes until the owner requests one again, which it must not do in this call.
   */
  refused(failure: number): void;
}

/**
 * A level-triggered epoll loop.
 *
 * Changes of masks are collected, and passed to the kernel once before it is asked for events again: a
 * direction that blocks and resumes within one round costs no system call. Descriptors are closed at the end
 * of the round, so that an event of this round cannot reach a new descriptor with an old number.
 */
export interface Loop {
  readonly epoll: number;
  readonly watches: (Watch | undefined)[];
  readonly changes: Watch[];
  readonly closing: number[];
  readonly timers: Timers;
  /** The time of the last wake-up, ms, on the clock of performance.now(). */
  now: number;
  /** The number of wake-ups since the start. */
  round: number;
  /**
   * Called at the end of each round, before descriptors are closed. Returns whether work is left for the next
   * round.
   */
  atRoundEnd: (freedDescriptors: boolean) => boolean;
  /** What it returned last. If true, the next round does not wait for events. */
  hasWork: boolean;
}

const events = pinned(BATCH * EVENT_WORDS * 4);
const change = pinned(16);

/** Creates a loop. Throws an Error if the kernel creates no epoll descriptor. */
export function createLoop(): Loop {
  const epoll = epollCreate(EPOLL_CLOEXEC);
  if (epoll < 0) throw new Error(`epoll_create1 failed (${errorWords(errno())})`);
  return {
    epoll,
    watches: [],
    changes: [],
    closing: [],
    timers: [],
    now: performance.now(),
    round: 0,
    atRoundEnd: () => false,
    hasWork: false,
  };
}

/**
 * Starts watching `watch.fd` for `watch.wanted`. If the kernel refuses, `watch.refused` has been called on
 * return.
 */
export function add(loop: Loop, watch: Watch): void {
  loop.watches[watch.fd] = watch;
  watch.mask = ABSENT;
  control(loop, EPOLL_CTL_ADD, watch);
}

/** Changes the events that `watch` waits for. */
export function modify(loop: Loop, watch: Watch, wanted: number): void {
  watch.wanted = wanted;
  if (watch.changed || wanted === watch.mask) return;
  watch.changed = true;
  loop.changes.push(watch);
}

/**
 * Removes a descriptor from epoll until its owner waits for an event again. Nothing else silences EPOLLHUP
 * and EPOLLERR, which epoll reports on every round, whatever the mask (epoll_ctl(2)).
 */
export function unwatch(loop: Loop, watch: Watch): void {
  watch.wanted = 0;
  if (watch.mask !== ABSENT) control(loop, EPOLL_CTL_DEL, watch);
}

/** Closes the descriptor at the end of this round, and forgets it now. */
export function scheduleClose(loop: Loop, watch: Watch): void {
  if (watch.fd < 0) return;
  loop.watches[watch.fd] = undefined;
  loop.closing.push(watch.fd);
  watch.fd = -1;
  watch.mask = ABSENT;
}

/** Stops watching the descriptor and leaves it open. Returns it. The owner still wants the same events of the next one. */
export function release(loop: Loop, watch: Watch): number {
  const { fd, wanted } = watch;
  unwatch(loop, watch);
  watch.wanted = wanted;
  loop.watches[fd] = undefined;
  watch.fd = -1;
  return fd;
}

/**
 * Runs the loop until the process exits. The JavaScript thread sleeps in epoll_wait(2), where Node's own loop
 * cannot run. So the epoll descriptor of that loop is watched as well, and Node gets to run when it is
 * readable (a signal, the inspector). That makes process.on('SIGTERM') work whichever thread the kernel
 * delivers the signal to: libuv's handler writes to a pipe that Node's epoll watches.
 *
 * `started` is called when signals are handled and just before the first event.
 */
export function run(loop: Loop, started: () => void): void {
  let nodeTurn = false;
  const node: Watch = {
    fd: nodeBackendFd(),
    wanted: EPOLLIN,
    mask: ABSENT,
    changed: false,
    ready: () => {
      nodeTurn = true;
    },
    refused: (failure) => {
      throw new Error(`signals cannot be received: epoll_ctl failed (${errorWords(failure)})`);
    },
  };
  add(loop, node);
  const turn = (): void => {
    for (nodeTurn = false; !nodeTurn; ) round(loop);
    setImmediate(turn);
  };
  // Node registers a new signal pipe with its own epoll the next time it runs, so it runs first.
  setImmediate(() => {
    started();
    turn();
  });
}

/** How often Node's own loop gets to run in a thread that it has nothing else to do in, ms: for V8, which collects garbage there too. */
const NODE_TURN_MS = 1000;

/** Runs the loop in a thread of its own until `isEnded` says so at the end of a round. The thread gets no signals. */
export function runInThread(loop: Loop, isEnded: () => boolean): void {
  const turn = (): void => {
    const due = loop.now + NODE_TURN_MS;
    do round(loop);
    while (!isEnded() && loop.now < due);
    if (!isEnded()) setImmediate(turn);
  };
  turn();
}

function round(loop: Loop): void {
  if (loop.changes.length > 0) applyChanges(loop);
  const count = epollWait(loop.epoll, events.address, BATCH, timeout(loop));
  loop.now = performance.now();
  loop.round += 1;
  if (count < 0 && errno() !== E.EINTR) throw new Error(`epoll_wait failed (${errorWords(errno())})`);
  const words = events.words;
  for (let at = 0; at < count * EVENT_WORDS; at += EVENT_WORDS) {
    // An earlier event of this round may have closed the descriptor.
    loop.watches[words[at + DATA_WORD] as number]?.ready(words[at] as number);
  }
  fireDue(loop.timers, loop.now);
  loop.hasWork = loop.atRoundEnd(loop.closing.length > 0);
  if (loop.closing.length > 0) {
    for (const fd of loop.closing) close(fd);
    loop.closing.length = 0;
  }
}

function timeout(loop: Loop): number {
  // A refused change may have closed a descriptor. It is closed when the round ends, so that must not wait.
  if (loop.hasWork || loop.closing.length > 0) return 0;
  const first = loop.timers[0];
  if (first === undefined) return -1;
  return Math.max(0, Math.ceil(first.due - performance.now()));
}

function applyChanges(loop: Loop): void {
  for (const watch of loop.changes) {
    watch.changed = false;
    if (watch.fd < 0 || watch.wanted === watch.mask) continue;
    if (watch.mask !== ABSENT) control(loop, EPOLL_CTL_MOD, watch);
    else if (watch.wanted !== 0) control(loop, EPOLL_CTL_ADD, watch);
  }
  loop.changes.length = 0;
}

function control(loop: Loop, op: number, watch: Watch): void {
  change.words[0] = watch.wanted;
  change.words[DATA_WORD] = watch.fd;
  if (epollCtl(loop.epoll, op, watch.fd, change.address) < 0) {
    watch.refused(errno());
    return;
  }
  watch.mask = op === EPOLL_CTL_DEL ? ABSENT : watch.wanted;
}
