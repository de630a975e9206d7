import { type Address, isWildcard, localWordsOf } from '../address.js';
import { add, modify } from '../loop.js';
import { setOption } from '../socket-options.js';
import type { Resume } from '../store/open.js';
import {
  EPOLLERR,
  EPOLLIN,
  errorWords,
  F_GETFL,
  F_SETFL,
  fcntl,
  getsockopt,
  IP_PKTINFO,
  IP_RECVERR,
  IP_RECVTTL,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_RECVERR,
  IPV6_RECVHOPLIMIT,
  IPV6_RECVPKTINFO,
  O_NONBLOCK,
  pinned,
  SO_RCVBUF,
  SOL_SOCKET,
  SOL_UDP,
  UDP_GRO,
} from '../syscalls.js';
import { createTimer, start } from '../timers.js';
import { drainErrors } from './errors.js';
import { createMessages } from './messages.js';
import { BATCH, type UdpRelay } from './relay.js';
import { readReplies, sendReplies } from './replies.js';
import { readRequests } from './requests.js';
import { resumeSession } from './resume.js';
import { endSession, outlive, reconnectSessions } from './session.js';
import { createSessions, type Head, sortSessions } from './sessions.js';

/** The receive buffer of a head, bytes: as much as net.core.rmem_max allows, unless ReceiveBuffer= has given it more. */
const RECEIVE_BYTES = 4 << 20;

/** A receive buffer of the usual size is smaller (net.core.rmem_default, socket(7)), bytes. */
const USUAL_BYTES = 400_000;

/** How long a head is not watched after the kernel has refused that, ms. */
const PAUSE_MS = 1000;

const value = pinned(4);
const valueSize = pinned(4);

/** What a relay of datagrams is created with. */
export type UdpOptions = Pick<
  UdpRelay,
  | 'loop'
  | 'log'
  | 'access'
  | 'device'
  | 'resolver'
  | 'restarter'
  | 'named'
  | 'counters'
  | 'starter'
  | 'targetFailed'
  | 'dialTimeout'
  | 'timeout'
  | 'maxSessions'
  | 'survivors'
  | 'onOpen'
  | 'onClose'
>;

/** The relay of datagrams of a link. */
export interface UdpService {
  readonly relay: UdpRelay;
  /** Reads the datagrams that wait at the heads. */
  readPending(): void;
  /** Sends what has been collected: to be called at the end of each round of the loop. Returns whether some is left for the next one. */
  finishRound(): boolean;
  /** Sets the target; undefined if its address is unknown. */
  setTarget(to: Address | undefined, target: string): void;
  /** Continues a session of an earlier process. */
  resume: Resume;
  /** To be called after the last of them. */
  resumed(): void;
  /** Has all sessions outlive the process. */
  outliveAll(): void;
}

/** Relays the datagrams that arrive at the sockets `fds`. */
export function serveDatagrams(fds: number[], options: UdpOptions): UdpService {
  const relay: UdpRelay = {
    ...options,
    to: undefined,
    target: '',
    sessions: createSessions(),
    datagrams: 0,
    dropped: 0,
    kept: 0,
    freeAddresses: [],
    expiry: createTimer(() => expireSessions(relay)),
    requests: createMessages(BATCH),
    forwarded: createMessages(BATCH),
    replies: createMessages(BATCH),
    answers: createMessages(BATCH),
    replyCount: 0,
    replyHead: undefined,
    sentReplies: 0,
    waitedIn: 0,
    fullBatches: 0,
  };
  const heads = fds.map((fd) => watchHead(relay, fd));
  return {
    relay,
    readPending: () => {
      for (const head of heads) readRequests(relay, head, readReplies);
    },
    finishRound: () => !sendReplies(relay),
    setTarget: (to, target) => {
      const hasMoved =
        to !== undefined && (to.text !== relay.to?.text || to.device?.text !== relay.to.device?.text);
      relay.to = to;
      relay.target = target;
      if (hasMoved) reconnectSessions(relay);
    },
    resume: (remains) => resumeSession(relay, heads, readReplies, remains),
    resumed() {
      sortSessions(relay.sessions);
      expireSessions(relay);
    },
    outliveAll() {
      for (let session = relay.sessions.oldest; session !== undefined; session = session.newer)
        outlive(relay, session);
    },
  };
}

function watchHead(relay: UdpRelay, fd: number): Head {
  const { loop, log } = relay;
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
  const head: Head = {
    fd,
    address: localWordsOf(fd),
    tellsLocal: relay.device !== undefined || isWildcard(fd),
    device: 0,
    wanted: EPOLLIN,
    mask: -1,
    changed: false,
    ready: (events) => {
      if ((events & EPOLLERR) !== 0) drainErrors(relay, head);
      if ((events & EPOLLIN) !== 0) readRequests(relay, head, readReplies);
    },
    refused: (failure) => {
      start(loop.timers, retry, loop.now + PAUSE_MS);
      const message = `the kernel does not watch a listening socket (${errorWords(failure)})`;
      log.failure(
        `failed listen ${failure}`,
        `${message}; datagrams wait for 1 s`,
        (count) => `${message}, ${count} more times in the last 10 s`,
      );
    },
  };
  const retry = createTimer(() => modify(loop, head, EPOLLIN));
  // The service manager may have exceeded the limit (ReceiveBuffer=), which this process must not.
  if (get(fd, SOL_SOCKET, SO_RCVBUF) < USUAL_BYTES) setOption(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BYTES);
  setOption(fd, SOL_UDP, UDP_GRO, 1);
  // Of these, the ones of the other family fail, and change nothing.
  setOption(fd, IPPROTO_IP, IP_RECVERR, 1);
  setOption(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
  setOption(fd, IPPROTO_IP, IP_RECVTTL, 1);
  setOption(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
  if (head.tellsLocal) {
    setOption(fd, IPPROTO_IP, IP_PKTINFO, 1);
    setOption(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  }
  add(loop, head);
  return head;
}

/** Ends the sessions that have been quiet for too long, and looks again when the next one may be. */
function expireSessions(relay: UdpRelay): void {
  const { sessions, loop, timeout } = relay;
  while (sessions.oldest !== undefined && sessions.oldest.active + timeout <= loop.now)
    endSession(relay, sessions.oldest);
  if (sessions.oldest !== undefined) start(loop.timers, relay.expiry, sessions.oldest.active + timeout);
}

function get(fd: number, level: number, name: number): number {
  valueSize.words[0] = 4;
  return getsockopt(fd, level, name, value.address, valueSize.address) < 0 ? 0 : (value.words[0] as number);
}
