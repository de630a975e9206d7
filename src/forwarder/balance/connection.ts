import type { Relay } from '../connection.js';
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
} from '../hand-off/messages.js';
import { add, modify, scheduleClose, unwatch, type Watch } from '../loop.js';
import { createSendRetry } from '../send-retry.js';
import {
  AF_UNIX,
  close,
  connect,
  EPOLLIN,
  EPOLLOUT,
  errno,
  SHUT_RDWR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  shutdown,
  socket,
} from '../syscalls.js';
import type { TailOption } from './tail.js';

/** Calls about what the forwarder of a tail says. */
export interface TailEvents {
  /** `rejection` is empty, unless its machine accepts clients and then resets them. */
  accepted(client: number, rejection: string): void;
  refused(client: number, reason: string): void;
  gone(client: number): void;
  /** The number of its sessions. */
  sessions(open: number): void;
  /** How many of them it has of an address: see TailSources. */
  source(text: string): void;
  /** The result of an active check; empty if the target has accepted. */
  checked(failure: string): void;
  /** What its machine says, which accepts clients and then resets them; empty when it has served one again. */
  rejected(failure: string): void;
  /** Its forwarder has ended. No client that was offered to it and that it has not answered about is its own. */
  ended(): void;
}

/** The connection to the forwarder of a tail. */
export interface TailConnection {
  /** Whether there is one. */
  isOpen(): boolean;
  /** Connects unless that is done. systemd starts the forwarder. Returns 0, or errno. */
  open(): number;
  /** Offers a client, with what `text` says of PROXY headers. Returns 0, or errno if the forwarder cannot be reached. */
  offer(client: number, descriptor: number, text: string): number;
  /** Takes back all clients that the tail has not accepted: calls what it has said before, and ended(). */
  cancel(): void;
}

/** Creates a connection that is not open yet. */
export function createTailConnection({ loop }: Relay, tail: TailOption, events: TailEvents): TailConnection {
  const unsent: Message[] = [];
  const watch: Watch = {
    fd: -1,
    wanted: EPOLLIN,
    mask: -1,
    changed: false,
    ready: (ready) => {
      if ((ready & EPOLLOUT) !== 0) flush();
      read();
    },
    refused: (failure) => {
      refusal = failure;
      end();
    },
  };
  /** errno of a kernel that does not watch the socket; 0 if it does. */
  let refusal = 0;
  const retrySend = createSendRetry(loop, watch);
  const read = (): void => {
    while (watch.fd >= 0) {
      const message = receiveMessage(watch.fd);
      if (message === undefined) return;
      if (message === 'end') end();
      else handle(message);
    }
  };
  const handle = ({ type, client, open, text, descriptor }: Message): void => {
    if (descriptor !== undefined) close(descriptor);
    events.sessions(open);
    if (type === ACCEPTED) events.accepted(client, text);
    else if (type === REFUSED) events.refused(client, text);
    else if (type === GONE) events.gone(client);
    else if (type === CHECKED) events.checked(text);
    else if (type === REJECTED) events.rejected(text);
    else if (type === SOURCE) events.source(text);
    else if (type !== OPEN) end();
  };
  const end = (): void => {
    if (watch.fd < 0) return;
    unsent.length = 0;
    scheduleClose(loop, watch);
    events.ended();
  };
  const flush = (): void => {
    while (unsent.length > 0) {
      const failure = sendMessage(watch.fd, unsent[0] as Message);
      if (isFull(failure)) {
        retrySend(failure);
        return;
      }
      unsent.shift();
    }
    modify(loop, watch, watch.wanted & ~EPOLLOUT);
  };
  const open = (): number => {
    if (watch.fd >= 0) return 0;
    const fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno();
    if (connect(fd, tail.address.sockaddr, tail.address.size) < 0) {
      const failure = errno();
      close(fd);
      return failure;
    }
    watch.fd = fd;
    watch.wanted = EPOLLIN;
    refusal = 0;
    add(loop, watch);
    return refusal;
  };
  return {
    isOpen: () => watch.fd >= 0,
    open,
    offer(client, descriptor, text) {
      const failure = open();
      if (failure !== 0) return failure;
      const message = { type: OFFER, client, open: 0, text, descriptor };
      if (unsent.length === 0) {
        const sent = sendMessage(watch.fd, message);
        // One that cannot be sent for good is taken back when the end of the forwarder is noticed.
        if (!isFull(sent)) return 0;
        retrySend(sent);
      }
      unsent.push(message);
      return 0;
    },
    cancel() {
      const { fd } = watch;
      if (fd < 0) return;
      // From now on the tail cannot tell that it has accepted. What it has told before is still in the queue.
      shutdown(fd, SHUT_RDWR);
      read();
      // Reading ends at the end of the queue, where a new connection may have been opened.
      if (watch.fd !== fd) return;
      unwatch(loop, watch);
      end();
    },
  };
}
