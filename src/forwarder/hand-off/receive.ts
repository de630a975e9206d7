import type { Relay } from '../connection.js';
import { add, type Loop, modify, scheduleClose, unwatch, type Watch } from '../loop.js';
import { createSendRetry } from '../send-retry.js';
import { serve } from '../serve.js';
import { socketOption } from '../socket-options.js';
import { formatCount, type Source } from '../sources.js';
import {
  AF_UNIX,
  accept4,
  close,
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
  SO_DOMAIN,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
} from '../syscalls.js';
import { createTimer, start } from '../timers.js';
import { watchTarget } from './check.js';
import {
  ACCEPTED,
  CHECKED,
  GONE,
  isFull,
  type Message,
  OFFER,
  OPEN,
  REFUSED,
  REJECTED,
  receiveMessage,
  SOURCE,
  sendMessage,
} from './messages.js';
import type { Offer } from './offer.js';
import { parseProxyInfo } from './proxy-info.js';

/** Clients that are taken from one front in a round of the loop. */
const MOST_A_ROUND = 32;

/** How long accepting pauses when the kernel refuses something, ms. */
const PAUSE_MS = 1000;

/** What a tail is created with. */
export interface TailOptions {
  readonly relay: Relay;
  /** The most sessions at a time. Further clients are refused, and the front offers them to another tail. */
  readonly maxOpen: number;
  /** Whether a target that refuses is tried again; see {@link Offer}. */
  readonly mayRetry: boolean;
  /** How often it is checked whether the target accepts, ms; undefined: never. */
  readonly checkEvery: number | undefined;
  /** The sessions that other threads have. */
  readonly elsewhere: () => number;
  /** Called when there is nothing to check any more. */
  readonly onQuiet: () => void;
}

/** Serves the clients that fronts offer. */
export interface TailService {
  /** Takes the fronts that wait, and what they have offered. */
  acceptPending(): void;
  /** Tells the fronts that the number of sessions has changed, at the end of the round. */
  finishRound(): void;
  /** Fronts for which the target is being checked. */
  watching(): number;
}

/** A front. There is one, and for a moment a second when it has been started again. */
interface Front extends Watch {
  /** What could not be sent yet. */
  readonly unsent: Message[];
  /** Has the first of them sent later; see createSendRetry(). */
  retrySend: (failure: number) => void;
  /** The number of sessions that it knows of. */
  told: number;
  /** The sources whose numbers of sessions it does not know. */
  readonly untold: Set<Source>;
}

/** Takes over the clients that are offered at the listening seqpacket socket `fd`, and relays each of them to the target. */
export function serveOffers(fd: number, options: TailOptions): TailService {
  const { relay, maxOpen, mayRetry, checkEvery, elsewhere } = options;
  const { loop, log } = relay;
  const fronts = new Set<Front>();
  /** Clients whose target has not accepted yet. The front counts them itself. */
  let pending = 0;
  const open = (): number => relay.open + elsewhere();
  const sessions = (): number => open() - pending;
  /** Why the part on another machine resets clients that it has accepted; empty if it does not. */
  let rejection = '';
  relay.onRejection = (failure) => {
    if (failure === rejection) return;
    rejection = failure;
    for (const front of fronts) say(front, { type: REJECTED, client: 0, open: sessions(), text: failure });
  };

  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
  const listener: Watch = {
    fd,
    wanted: EPOLLIN,
    mask: -1,
    changed: false,
    ready: () => acceptFronts(),
    refused: (failure) => pauseAfter(failure),
  };
  const resume = createTimer(() => modify(loop, listener, EPOLLIN));
  const pauseAfter = (failure: number): void => {
    unwatch(loop, listener);
    start(loop.timers, resume, loop.now + PAUSE_MS);
    const message = `the front forwarder could not be accepted (${errorWords(failure)})`;
    log.failure(
      `failed front ${failure}`,
      `${message}; tried again in 1 s`,
      (count) => `${message} ${count} more times`,
    );
  };
  const acceptFronts = (): void => {
    for (;;) {
      const front = accept4(fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (front >= 0) {
        openFront(front);
        continue;
      }
      const failure = errno();
      if (failure !== E.EAGAIN && failure !== E.EINTR) pauseAfter(failure);
      return;
    }
  };

  const openFront = (descriptor: number): void => {
    const front: Front = {
      fd: descriptor,
      wanted: EPOLLIN,
      mask: -1,
      changed: false,
      unsent: [],
      retrySend: () => {},
      told: sessions(),
      untold: new Set(relay.sources?.open.keys()),
      ready: (events) => {
        if ((events & EPOLLOUT) !== 0) flush(loop, front);
        // What it has offered before it has gone is read first.
        read(front, (events & (EPOLLERR | EPOLLHUP)) !== 0 ? Number.POSITIVE_INFINITY : MOST_A_ROUND);
      },
      refused: () => closeFront(front),
    };
    front.retrySend = createSendRetry(loop, front);
    fronts.add(front);
    // Before the kernel may refuse to watch the front, which ends it, and the check with the last one.
    check?.resume();
    add(loop, front);
    say(front, { type: OPEN, client: 0, open: front.told, text: '' });
  };
  const closeFront = (front: Front): void => {
    fronts.delete(front);
    scheduleClose(loop, front);
    if (fronts.size === 0) {
      check?.pause();
      options.onQuiet();
    }
  };
  const read = (front: Front, most: number): void => {
    for (let n = 0; n < most && front.fd >= 0; n++) {
      const message = receiveMessage(front.fd);
      if (message === undefined) return;
      if (message === 'end') closeFront(front);
      else if (message.type === OFFER) take(front, message);
      else if (message.descriptor !== undefined) close(message.descriptor);
    }
  };
  const take = (front: Front, { client, descriptor, text: told }: Message): void => {
    const answer = (type: number, text = ''): number => say(front, { type, client, open: sessions(), text });
    if (descriptor === undefined || open() >= maxOpen) {
      if (descriptor !== undefined) close(descriptor);
      answer(
        REFUSED,
        `its forwarder has ${open()} sessions, which is as many as --max-connections and LimitNOFILE= allow`,
      );
      return;
    }
    const proxyInfo = told === '' ? undefined : parseProxyInfo(told);
    if (told !== '' && proxyInfo === undefined) {
      close(descriptor);
      answer(REFUSED, 'its forwarder does not understand what the front forwarder says of a PROXY header');
      return;
    }
    pending += 1;
    const offer: Offer = {
      mayRetry,
      accepted() {
        pending -= 1;
        // Kept for later, it would not be in the queue of the front when the client is read.
        if (front.fd >= 0 && front.unsent.length === 0 && answerNow(front, client) === 0) return true;
        answer(REFUSED, 'the front forwarder has not read what its forwarder has said');
        return false;
      },
      // It is still among the open ones, and no session.
      refused(reason) {
        answer(REFUSED, reason);
        pending -= 1;
      },
      gone() {
        answer(GONE);
        pending -= 1;
      },
    };
    const isUnix = socketOption(descriptor, SO_DOMAIN) === AF_UNIX;
    serve(relay, descriptor, { isUnix, proxyInfo, offer });
  };
  const tellSources = (front: Front): void => {
    for (const source of front.untold) {
      if (front.fd < 0 || front.unsent.length > 0) return;
      front.untold.delete(source);
      const text = formatCount(source, relay.sources?.open.get(source) ?? 0);
      say(front, { type: SOURCE, client: 0, open: sessions(), text });
    }
  };
  const answerNow = (front: Front, client: number): number => {
    front.told = sessions();
    return sendMessage(front.fd, { type: ACCEPTED, client, open: front.told, text: rejection });
  };

  const say = (front: Front, message: Message): number => {
    if (front.fd < 0) return E.EPIPE;
    front.told = message.open;
    const failure = front.unsent.length > 0 ? E.EAGAIN : sendMessage(front.fd, message);
    if (!isFull(failure)) return failure;
    if (front.unsent.length === 0) front.retrySend(failure);
    front.unsent.push(message);
    return failure;
  };
  const check =
    checkEvery === undefined
      ? undefined
      : watchTarget(relay, checkEvery, (failure) => {
          // That another machine accepts proves nothing then.
          if (failure === '' && rejection !== '') return;
          for (const front of fronts)
            say(front, { type: CHECKED, client: 0, open: sessions(), text: failure });
        });

  add(loop, listener);
  return {
    acceptPending() {
      acceptFronts();
      for (const front of fronts) read(front, Number.POSITIVE_INFINITY);
    },
    finishRound() {
      const current = sessions();
      const changed = relay.sources?.changed;
      if (changed !== undefined && changed.size > 0) {
        for (const front of fronts) for (const source of changed) front.untold.add(source);
        changed.clear();
      }
      for (const front of fronts) {
        tellSources(front);
        if (front.told === current || front.unsent.length > 0) continue;
        say(front, { type: OPEN, client: 0, open: current, text: '' });
      }
    },
    watching: () => (check === undefined ? 0 : fronts.size),
  };
}

function flush(loop: Loop, front: Front): void {
  while (front.unsent.length > 0) {
    const failure = sendMessage(front.fd, front.unsent[0] as Message);
    if (isFull(failure)) {
      front.retrySend(failure);
      return;
    }
    front.unsent.shift();
  }
  modify(loop, front, front.wanted & ~EPOLLOUT);
}
