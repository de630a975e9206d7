import koffi from 'koffi';
import {
  AF_INET,
  accept4,
  close,
  connect,
  E,
  EPOLLERR,
  errno,
  errorWords,
  getsockname,
  ioctl,
  pinned,
  poll,
  recv,
  SHUT_WR,
  SIOCOUTQ,
  SO_LINGER,
  SO_OOBINLINE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  setsockopt,
  shutdown,
  socket,
} from '../../src/forwarder/syscalls.ts';
import type { Script, Side, Step } from './forwarder-fidelity-script.ts';

/*
 * Plays scripts on raw sockets, many at a time, and judges how each ends. What may happen follows from what TCP promises:
 *
 * - Bytes arrive in order and unchanged. Of a side that has not reset, all arrive; of one that has, at least those that
 *   the other machine's kernel had acknowledged.
 * - The end of a stream is a FIN if and only if the sender has ended it. Whatever cuts it off is a reset.
 * - A side that is there and does nothing sees nothing.
 *
 * A direct connection has to pass as well, which shows that no more is asked of a relay than of the kernel.
 */

const libc = koffi.load(null);
const send: (fd: number, bytes: number, size: number, flags: number) => number = libc.func(
  'int send(int fd, int64_t bytes, int64_t size, int flags)',
);
const bind = libc.func('int bind(int fd, int64_t addr, uint size)');
const listen = libc.func('int listen(int fd, int backlog)');
const [MSG_OOB, MSG_NOSIGNAL, FIONREAD, FIONBIO, SO_REUSEADDR, SO_SNDBUF, SO_RCVBUF] = [
  0x1, 0x4000, 0x541b, 0x5421, 2, 7, 8,
];

/** The stream of both sides: byte N of a stream is byte N of these, which are repeated. */
const PERIOD = 1_000_003;
const pattern = pinned(1_000_004 + (1 << 18));
for (let at = 0; at < pattern.bytes.length; at++) {
  pattern.bytes[at] = (Math.imul((at % PERIOD) + 1, 0x9e3779b1) >>> 13) & 0xff;
}
const PIECE = 1 << 18;
const room = pinned(PIECE);
const value = pinned(16);
const pollSlot = pinned(8);

/** How the connection looks to one of the two programs. */
interface End {
  readonly side: Side;
  fd: number;
  /** What it still has to send: numbers of bytes, an urgent byte as 0, the end of the stream as -1. */
  readonly queue: number[];
  /** Bytes that the kernel has taken. */
  taken: number;
  finSent: boolean;
  reads: boolean;
  received: number;
  /** How reading has come to an end: with a FIN, with the error of a reset, or after a write had consumed that error. */
  readUntil: undefined | 'FIN' | 'reset' | 'unknown';
  sawReset: boolean;
  /** How this side has left the connection itself. A close(2) with unread bytes is a reset (RFC 2525, 2.17). */
  gone: 'no' | 'reset' | 'closed';
  /** What the other kernel had acknowledged when this side left. */
  acknowledged: { bytes: number; fin: boolean };
  wrong: string | undefined;
}

interface Session {
  readonly script: Script;
  readonly ends: Record<Side, End>;
  step: number;
  /** When the current step began, or when a sleep ends. */
  since: number;
  /** Before this time, no step begins. */
  notBefore: number;
  done: boolean;
}

export interface Trouble {
  readonly seed: number;
  readonly what: string;
}

export interface PlayOptions {
  /** Where clients connect: the relay's port, or that of the target itself. Default: the target itself. */
  readonly port?: number;
  /** The target's listening socket, see listenRaw(). */
  readonly listener: number;
  /** How long one step may take, ms. */
  readonly timeout: number;
  /** How long all connections have existed before the first step that is not early, ms. Default 0. */
  readonly age?: number;
  /** Called when all connections exist. */
  readonly begun?: () => void;
  /** The longest delay between two steps, ms. Default 0. */
  readonly pause?: number;
  /** Called with the client's socket once it is connected, before it does anything. */
  readonly greet?: (client: number) => void;
  /**
   * Called with the target's socket, and the client's or -1, before anything else is read from the target's. Returns errno if
   * that has failed, or 0.
   */
  readonly strip?: (target: number, client: number) => number;
}

/** A listening socket on `port` of 127.0.0.1, or on a free one. */
export function listenRaw(port = 0): { fd: number; port: number } {
  const fd = must('socket', socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  // Accepted sockets inherit it. A byte behind which another urgent one comes is lost otherwise.
  inLine(fd);
  value.words[0] = 1;
  must('setsockopt', setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, value.address, 4));
  must('bind', bind(fd, sockaddr(port), 16));
  must('listen', listen(fd, 4096));
  return { fd, port: portOf(fd) };
}

/** Plays all `scripts` at the same time and returns what did not end as TCP promises. */
export function play(scripts: readonly Script[], options: PlayOptions): Trouble[] {
  const sessions = scripts.map((script) => begin(script, options));
  options.begun?.();
  for (const session of sessions) {
    session.since = Date.now();
    session.notBefore = session.since + (options.age ?? 0);
  }
  for (let busy = sessions; busy.length > 0; busy = busy.filter(({ done }) => !done)) {
    let moved = false;
    for (const session of busy) moved = advance(session, options) || moved;
    if (!moved) poll(0, 0, 1);
  }
  const troubles = sessions.flatMap(({ script, ends }) => {
    const wrong = [judge(ends.client, ends.target), judge(ends.target, ends.client)].filter(
      (what) => what !== undefined,
    );
    return wrong.length === 0 ? [] : [{ seed: script.seed, what: wrong.join('; ') }];
  });
  for (const { ends } of sessions) {
    for (const end of [ends.client, ends.target]) if (end.fd >= 0) leave(end, 'reset');
  }
  return troubles;
}

/** Connects the client, lets it do what it does early, and accepts the connection: one after the other, so it is that one. */
function begin(script: Script, options: PlayOptions): Session {
  const client = createEnd(
    'client',
    connectRaw(options.port ?? portOf(options.listener), script.narrow.includes('client')),
  );
  const target = createEnd('target', -1);
  options.greet?.(client.fd);
  for (const step of script.steps.slice(0, script.early)) act(step, { client, target });
  push(client);
  for (const end = Date.now() + options.timeout; target.fd < 0; ) {
    target.fd = accept4(options.listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (target.fd >= 0) break;
    if (Date.now() > end) {
      target.wrong = 'was never connected';
      break;
    }
    watchForReset(client, true);
    if (client.sawReset) {
      target.wrong = 'was never connected, for the client was reset';
      break;
    }
    poll(0, 0, 1);
  }
  if (target.fd >= 0 && script.narrow.includes('target')) narrow(target.fd, true);
  const stripped = target.fd < 0 ? 0 : (options.strip?.(target.fd, client.fd) ?? 0);
  if (stripped !== 0) {
    target.readUntil = 'reset';
    noteReset(target, stripped);
  }
  return {
    script,
    ends: { client, target },
    step: script.early,
    since: 0,
    notBefore: 0,
    done: target.fd < 0,
  };
}

function createEnd(side: Side, fd: number): End {
  return {
    side,
    fd,
    queue: [],
    taken: 0,
    finSent: false,
    reads: true,
    received: 0,
    readUntil: undefined,
    sawReset: false,
    gone: 'no',
    acknowledged: { bytes: 0, fin: false },
    wrong: undefined,
  };
}

/** Does what can be done now. Returns whether that was anything. */
function advance(session: Session, { timeout, pause = 0 }: PlayOptions): boolean {
  const { client, target } = session.ends;
  let moved = false;
  for (const end of [client, target]) {
    if (end.fd < 0) continue;
    if (pull(end)) moved = true;
    if (push(end)) moved = true;
    watchForReset(end);
  }
  const step = session.script.steps[session.step];
  if (step === undefined) {
    session.done = true;
    return true;
  }
  const now = Date.now();
  if (now < session.notBefore) return moved;
  if (step.do === 'sleep') {
    if (now < session.since + step.ms) return moved;
  } else if (step.do === 'settle') {
    if (!isSettled(client, target) || !isSettled(target, client)) {
      if (now < session.since + timeout) return moved;
      const late = isSettled(client, target) ? target : client;
      late.wrong ??= `waits in vain in step ${session.step}`;
      session.done = true;
      return true;
    }
  } else {
    act(step, session.ends);
  }
  session.step++;
  session.since = now;
  session.notBefore = now + pause * (((session.script.seed + 7 * session.step) % 10) / 10);
  return true;
}

function act(step: Step, ends: Record<Side, End>): void {
  if (step.do === 'sleep' || step.do === 'settle') return;
  const end = ends[step.side];
  if (end.fd < 0) return;
  if (step.do === 'write') end.queue.push(step.size);
  else if (step.do === 'urgent') end.queue.push(0);
  else if (step.do === 'fin') end.queue.push(-1);
  else if (step.do === 'stall') end.reads = false;
  else if (step.do === 'read') end.reads = true;
  else {
    // A FIN counts as a byte (tcp_ioctl() in the kernel).
    const unacknowledged = ioctlNumber(end.fd, SIOCOUTQ);
    end.acknowledged = {
      bytes: Math.min(end.taken, end.taken + (end.finSent ? 1 : 0) - unacknowledged),
      fin: end.finSent && unacknowledged === 0,
    };
    const resets = step.do === 'reset' || ioctlNumber(end.fd, FIONREAD) > 0;
    // A plain close sends what the kernel has taken, and a FIN.
    if (!resets) end.finSent = true;
    leave(end, resets ? 'reset' : 'closed');
  }
}

function leave(end: End, how: 'reset' | 'closed'): void {
  if (how === 'reset') {
    value.words[0] = 1;
    value.words[1] = 0;
    setsockopt(end.fd, SOL_SOCKET, SO_LINGER, value.address, 8);
  }
  close(end.fd);
  end.fd = -1;
  end.gone = how;
}

/** Reads what there is. */
function pull(end: End): boolean {
  if (!end.reads || end.readUntil !== undefined) return false;
  for (let moved = false; ; moved = true) {
    const read = recv(end.fd, room.address, PIECE, 0);
    if (read < 0) {
      const failure = errno();
      if (failure === E.EAGAIN || failure === E.EINTR) return moved;
      end.readUntil = 'reset';
      noteReset(end, failure);
      return true;
    }
    if (read === 0) {
      end.readUntil = end.sawReset ? 'unknown' : 'FIN';
      return true;
    }
    const at = end.received % PERIOD;
    if (pattern.bytes.compare(room.bytes, 0, read, at, at + read) !== 0) {
      end.wrong ??= `received wrong bytes after ${end.received}`;
    }
    end.received += read;
  }
}

/** Sends what the kernel takes. */
function push(end: End): boolean {
  let moved = false;
  while (end.queue.length > 0 && end.fd >= 0) {
    const next = end.queue[0] as number;
    if (next === -1) {
      shutdown(end.fd, SHUT_WR);
      end.finSent = true;
      end.queue.length = 0;
      return true;
    }
    const at = pattern.address + (end.taken % PERIOD);
    const sent = send(
      end.fd,
      at,
      next === 0 ? 1 : Math.min(next, PIECE),
      MSG_NOSIGNAL | (next === 0 ? MSG_OOB : 0),
    );
    if (sent < 0) {
      const failure = errno();
      if (failure === E.EAGAIN || failure === E.EINTR) return moved;
      noteReset(end, failure);
      end.queue.length = 0;
      return true;
    }
    moved = true;
    end.taken += sent;
    if (next <= sent) end.queue.shift();
    else end.queue[0] = next - sent;
  }
  return moved;
}

/** Looks whether a side was reset. One that reads to its end meets that there in its place, so `always` is false then. */
function watchForReset(end: End, always = false): void {
  if (end.fd < 0 || end.sawReset || (!always && end.reads && end.readUntil === undefined)) return;
  pollSlot.words[0] = end.fd;
  pollSlot.words[1] = 0;
  if (poll(pollSlot.address, 1, 0) > 0 && ((pollSlot.words[1] as number) >> 16) & EPOLLERR) {
    noteReset(end, E.ECONNRESET);
  }
}

function noteReset(end: End, failure: number): void {
  end.sawReset = true;
  if (failure !== E.ECONNRESET && failure !== E.EPIPE) end.wrong ??= `met ${errorWords(failure)}`;
}

/** Whether `end` has seen all that the other side has done. */
function isSettled(end: End, other: End): boolean {
  if (end.gone !== 'no' || end.sawReset) return true;
  if (!end.reads) {
    return other.gone !== 'no' || other.taken === end.received || ioctlNumber(end.fd, FIONREAD) > 0;
  }
  if (other.gone === 'no') {
    return other.queue.length === 0 && end.received === other.taken && sawFin(end) === other.finSent;
  }
  return sawFin(end) && !mustBeReset(end, other);
}

/** Whether `end` has to be told that the other side, which has left, will not read what it has sent, or sends no more. */
function mustBeReset(end: End, other: End): boolean {
  // Once a side has ended its half, nothing that it does can tell it more about the other one.
  if (end.finSent && other.finSent) return false;
  return other.gone === 'reset' || end.taken > other.received;
}

function sawFin(end: End): boolean {
  return end.readUntil === 'FIN';
}

/** What is wrong with how the connection ended for `end`. */
function judge(end: End, other: End): string | undefined {
  const { side } = end;
  const problem = (what: string): string => `the ${side} ${what} (${stateOf(end)} | ${stateOf(other)})`;
  if (end.wrong !== undefined) return problem(end.wrong);
  if (end.received > other.taken) return problem('received more than was sent');
  if (end.gone !== 'no' || !end.reads) return undefined;
  if (sawFin(end)) {
    if (!other.finSent) return problem('saw an end that the other side has not sent');
    if (end.received < other.taken) return problem('saw the end before the last byte');
  }
  if (other.gone === 'no' || (other.gone === 'closed' && end.taken === other.received)) {
    if (end.sawReset) return problem('was reset, and nobody has done that');
    if (end.received < other.taken) return problem('has not received everything');
    if (other.finSent && !sawFin(end)) return problem('was not told of the end');
    return undefined;
  }
  if (end.received < other.acknowledged.bytes) return problem('has not received what was acknowledged');
  if (mustBeReset(end, other) && !end.sawReset) return problem('was not told of the reset');
  // A FIN that was there before the reset is read before it.
  if (other.acknowledged.fin && end.readUntil === 'reset')
    return problem('was not told of the end before the reset');
  return undefined;
}

function stateOf(end: End): string {
  const { side, taken, received, finSent, sawReset, gone, acknowledged } = end;
  const leaving =
    gone === 'no'
      ? 'there'
      : `${gone} with ${acknowledged.bytes}${acknowledged.fin ? '+FIN' : ''} acknowledged`;
  return (
    `${side}: sent ${taken}${finSent ? '+FIN' : ''}, received ${received}${sawFin(end) ? '+FIN' : ''}` +
    `${sawReset ? ', saw a reset' : ''}, ${leaving}`
  );
}

function connectRaw(port: number, isNarrow: boolean): number {
  const fd = must('socket', socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (isNarrow) narrow(fd, false);
  must('connect', connect(fd, sockaddr(port), 16));
  // Not before it is connected.
  value.words[0] = 1;
  must('ioctl', ioctl(fd, FIONBIO, value.address));
  inLine(fd);
  return fd;
}

/**
 * Lets urgent bytes arrive in their place in the stream. Accepted sockets inherit it from the listening one; a client that connects before the
 * forwarder has set it there loses an urgent byte behind which another one comes.
 */
export function inLine(fd: number): void {
  value.words[0] = 1;
  must('setsockopt', setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, value.address, 4));
}

/**
 * Gives a socket small buffers, so that its peer is held up soon. Smaller ones make even a direct connection crawl. The receive buffer is set
 * before the connection exists: if it becomes smaller than the window that the peer has been told, the kernel drops what does not fit, with
 * the acknowledgements in it, and both directions may stand still for as long as nobody reads.
 */
function narrow(fd: number, isConnected: boolean): void {
  value.words[0] = 1 << 17;
  for (const buffer of isConnected ? [SO_SNDBUF] : [SO_SNDBUF, SO_RCVBUF])
    must('setsockopt', setsockopt(fd, SOL_SOCKET, buffer, value.address, 4));
}

const address = pinned(16);

/** 127.0.0.1 and a port. */
function sockaddr(port: number): number {
  address.bytes.writeUInt16LE(AF_INET, 0);
  address.bytes.writeUInt16BE(port, 2);
  address.bytes.writeUInt32BE(0x7f000001, 4);
  return address.address;
}

function portOf(fd: number): number {
  value.words[0] = 16;
  must('getsockname', getsockname(fd, address.address, value.address));
  return address.bytes.readUInt16BE(2);
}

function ioctlNumber(fd: number, request: number): number {
  return ioctl(fd, request, value.address) < 0 ? 0 : (value.words[0] as number);
}

function must(what: string, result: number): number {
  if (result < 0) throw new Error(`${what} failed (${errorWords(errno())})`);
  return result;
}
