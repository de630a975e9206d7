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

/** Events taken from the kernel at once. */
const BATCH = 256;

/*
 * struct epoll_event in 32-bit words. The kernel packs it on x86-64 only (EPOLL_PACKED in linux/eventpoll.h): 12
 * bytes there, 16 with a hole after `events` elsewhere.
 */
const EVENT_WORDS = arch === 'x64' ? 3 : 4;
const DATA_WORD = EVENT_WORDS - 2;

/** The mask of a descriptor that is not in epoll. */
const ABSENT = -1;

/** A file descriptor the loop watches. It belongs to its owner, who adds what he needs to it. */
export interface Watch {
  /** -1 while there is none. */
  fd: number;
  /** The events its owner waits for. Change it with want(). */
  wanted: number;
  /** The events epoll knows of, or -1 while the descriptor is not in epoll. */
  mask: number;
  /** Whether it stands in the loop's list of changes. */
  changed: boolean;
  /** Called with the events that happened; EPOLLERR and EPOLLHUP come unasked. */
  ready(events: number): void;
  /**
   * Called with errno when the kernel refuses to watch the descriptor as asked (ENOSPC, ENOMEM: epoll_ctl(2)). No event
   * comes until its owner asks again. The owner must not ask at once, or this never ends.
   */
  refused(failure: number): void;
}

/**
 * A level-triggered epoll loop.
 *
 * Changes of masks are collected and told to the kernel once before it is asked for events again: a direction that
 * blocks and goes on within one round costs no system call. Closing waits for the end of the round too, so that an
 * event of this round can never meet a new descriptor with an old number.
 */
export interface Loop {
  readonly epoll: number;
  readonly watches: (Watch | undefined)[];
  readonly changes: Watch[];
  readonly closing: number[];
  readonly timers: Timers;
  /** Time of the last wake-up, ms, on the clock of performance.now(). */
  now: number;
  /** Wake-ups so far. */
  round: number;
  /** Called at the end of each round, before descriptors are closed. Returns whether it has left work for the next. */
  atRoundEnd: (freedDescriptors: boolean) => boolean;
  /** What it has returned last: then the next round does not wait for events. */
  hasWork: boolean;
}

const events = pinned(BATCH * EVENT_WORDS * 4);
const change = pinned(16);

/** A loop that watches nothing yet. Throws if the kernel gives no epoll descriptor. */
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

/** Starts to watch `watch.fd` for `watch.wanted`. If the kernel refuses, `watch.refused` has been called on return. */
export function add(loop: Loop, watch: Watch): void {
  loop.watches[watch.fd] = watch;
  watch.mask = ABSENT;
  control(loop, EPOLL_CTL_ADD, watch);
}

/** Says which events are of interest from now on. */
export function want(loop: Loop, watch: Watch, wanted: number): void {
  watch.wanted = wanted;
  if (watch.changed || wanted === watch.mask) return;
  watch.changed = true;
  loop.changes.push(watch);
}

/**
 * Takes a descriptor out of epoll until its owner wants an event again. Only that silences EPOLLHUP and EPOLLERR,
 * which epoll reports on every round, whatever the mask (epoll_ctl(2)).
 */
export function park(loop: Loop, watch: Watch): void {
  watch.wanted = 0;
  if (watch.mask !== ABSENT) control(loop, EPOLL_CTL_DEL, watch);
}

/** Closes the descriptor at the end of this round; the loop forgets it now. */
export function closeLater(loop: Loop, watch: Watch): void {
  if (watch.fd < 0) return;
  loop.watches[watch.fd] = undefined;
  loop.closing.push(watch.fd);
  watch.fd = -1;
  watch.mask = ABSENT;
}

/**
 * Runs the loop for ever. The JavaScript thread sleeps in epoll_wait, where Node's own loop cannot run; so the epoll
 * descriptor of that loop is watched as well, and when it is readable (a signal, the inspector) Node gets a turn.
 * That makes process.on('SIGTERM') work whichever thread the kernel hands the signal to: libuv's handler writes to
 * a pipe that Node's epoll watches.
 *
 * `started` is called when signals are taken and events about to be.
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
  // Node tells its own epoll of a new signal pipe on its next turn, so it gets one first.
  setImmediate(() => {
    started();
    turn();
  });
}

function round(loop: Loop): void {
  if (loop.changes.length > 0) applyChanges(loop);
  const count = epollWait(loop.epoll, events.address, BATCH, timeout(loop));
  loop.now = performance.now();
  loop.round += 1;
  if (count < 0 && errno() !== E.EINTR) throw new Error(`epoll_wait failed (${errorWords(errno())})`);
  const words = events.words;
  for (let at = 0; at < count * EVENT_WORDS; at += EVENT_WORDS) {
    // A descriptor that an earlier event of this round closed is no longer there.
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
  // A refused change may have closed a descriptor, and the descriptor ends its connection when the round ends.
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
