import { addressText } from '../address.js';
import type { Relay } from '../connection.js';
import { add, release, scheduleClose, type Watch } from '../loop.js';
import { resetOnClose } from '../socket-options.js';
import {
  E,
  EPOLLIN,
  EPOLLRDHUP,
  errno,
  errorWords,
  MSG_DONTWAIT,
  MSG_PEEK,
  pinned,
  recv,
} from '../syscalls.js';
import { createTimer, start, stop } from '../timers.js';
import type { Endpoint, Endpoints } from './endpoints.js';
import { LONGEST_HEADER, parseHeader } from './parse.js';

/**
 * How long a header may take, ms. The specification wants 3 s at least, in which TCP repeats a lost packet.
 */
export const HEADER_TIMEOUT_MS = 5000;

const room = pinned(LONGEST_HEADER);

/** A header that has been read from a client. */
export interface ReceivedHeader {
  /** Whom the connection is for; undefined: for the one who has made it. */
  readonly endpoints: Endpoints | undefined;
  /** The bytes of the header. */
  readonly size: number;
}

/**
 * Reads the PROXY header of the accepted client `fd`, whose address is `source`, and calls `received` with it. Everything behind
 * the header stays in the socket: bytes are removed only when they are known to belong to the header. A client that sends
 * another thing, or too slowly, is reset and logged. Meanwhile it counts as open.
 */
export function receiveHeader(
  relay: Relay,
  fd: number,
  { source, received }: { source: Endpoint; received: (header: ReceivedHeader) => void },
): void {
  const { loop, counters } = relay;
  let bytes = Buffer.alloc(0);
  relay.open += 1;
  counters.open += 1;
  const finish = (): void => {
    stop(loop.timers, timer);
    relay.open -= 1;
    counters.open -= 1;
  };
  const close = (): void => {
    finish();
    resetOnClose(watch.fd);
    scheduleClose(loop, watch);
    relay.onClose();
  };
  const fail = (reason: string): void => {
    counters.denied += 1;
    logFailure(relay, source, reason);
    close();
  };
  /** Moves on as far as there are bytes. */
  const read = (): void => {
    for (;;) {
      const peeked = recv(fd, room.address, LONGEST_HEADER - bytes.length, MSG_PEEK | MSG_DONTWAIT);
      if (peeked <= 0) {
        const failure = peeked < 0 ? errno() : 0;
        if (failure === E.EAGAIN || failure === E.EINTR) return;
        // A health check that only connects is no fault.
        if (bytes.length === 0) close();
        else fail(failure === 0 ? 'ends in the middle' : `is cut off (${errorWords(failure)})`);
        return;
      }
      const parsed = parseHeader(Buffer.concat([bytes, room.bytes.subarray(0, peeked)]));
      if (parsed.kind === 'malformed') {
        fail(parsed.reason);
        return;
      }
      const own = parsed.kind === 'complete' ? parsed.size - bytes.length : peeked;
      const removed = recv(fd, room.address, own, MSG_DONTWAIT);
      if (removed <= 0) return;
      bytes = Buffer.concat([bytes, room.bytes.subarray(0, removed)]);
      // An urgent mark ends a read before its time (tcp(7)).
      if (parsed.kind === 'incomplete' || removed < own) continue;
      finish();
      release(loop, watch);
      received({ endpoints: parsed.endpoints, size: parsed.size });
      return;
    }
  };
  const timer = createTimer(() => fail(`is not complete after ${HEADER_TIMEOUT_MS / 1000} s`));
  const watch: Watch = {
    fd,
    wanted: EPOLLIN | EPOLLRDHUP,
    mask: -1,
    changed: false,
    ready: read,
    refused: (failure) => fail(`cannot be waited for (${errorWords(failure)})`),
  };
  start(loop.timers, timer, loop.now + HEADER_TIMEOUT_MS);
  relay.onOpen();
  add(loop, watch);
}

function logFailure({ log }: Relay, source: Endpoint, reason: string): void {
  log.failure(
    'refused header',
    `closed the client ${addressText(source)}: its PROXY header ${reason}`,
    (count) =>
      `closed ${count} more client${count === 1 ? '' : 's'} in the last 10 s, the last of them ${addressText(source)}: its PROXY header ${reason}`,
  );
}
