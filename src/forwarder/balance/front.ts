import { peerOf } from '../address.js';
import type { Relay } from '../connection.js';
import { formatProxyInfo } from '../hand-off/proxy-info.js';
import type { ProxyInfo } from '../serve.js';
import { countClosed, countOpened, type Source, sourceOf } from '../sources.js';
import { close, errorWords } from '../syscalls.js';
import { createTimer, start, stop, type Timer } from '../timers.js';
import { createTailConnection, type TailConnection } from './connection.js';
import { type Policy, pick } from './pick.js';
import {
  createTailState,
  isAvailable,
  noteAccepted,
  noteFailed,
  type TailOption,
  type TailState,
} from './tail.js';
import { watchNames } from './tail-names-file.js';
import { createTailSources, type TailSources } from './tail-sources.js';

/** The first and the longest delay before a client is offered again that no tail has accepted, ms. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 250;

/** How soon the forwarder of a tail is asked for its sessions when it has died with some, ms. */
const RECONNECT_MS = 200;

/** What a front is created with. */
export interface FrontOptions {
  /** The id of the link, which the units of its tails are named after. */
  readonly link: string;
  readonly relay: Relay;
  readonly policy: Policy;
  readonly tails: readonly TailOption[];
  /** The names of tails that get no new client; the lines of `drainedFile`, if it exists, take their place. */
  readonly drained: readonly string[];
  readonly drainedFile: string | undefined;
  /** The names of tails that get no new client as long as there are others, since their containers are not healthy. */
  readonly unhealthyFile: string | undefined;
  /** Whether tails check their targets while the link is in use. */
  readonly isChecked: boolean;
  /** Called when a client has been handed over or closed, and when the number of sessions has changed. */
  readonly onChange: () => void;
}

/** The front forwarder of a link with several tails: it accepts clients, and hands each of them to the forwarder of a tail. */
export interface Front {
  /** Takes a client that has been accepted, and what it or its target is told in PROXY headers. */
  take(descriptor: number, proxyInfo?: ProxyInfo): void;
  /** The sessions of all tails, as far as they are known. */
  sessions(): number;
}

/** A client that no tail has accepted yet. */
interface Client {
  readonly id: number;
  readonly descriptor: number;
  /** The client in log messages. */
  readonly name: string | undefined;
  /** Its address, if that decides about its tail. */
  readonly host: string;
  /** Where its connections are counted; undefined if they are not. */
  readonly source: Source | undefined;
  /** What its tail is told of PROXY headers. */
  readonly proxyInfo: string;
  readonly deadline: number;
  readonly openedAt: number;
  /** The tails that have failed since the last pause. */
  readonly tried: Set<Tail>;
  /** The tail that it has been offered to. */
  offeredTo: Tail | undefined;
  readonly timer: Timer;
  wait: number;
  /** Why the last tail has not accepted it. */
  reason: string;
}

interface Tail {
  readonly state: TailState;
  readonly connection: TailConnection;
  readonly offered: Map<number, Client>;
  /** Its sessions, and those of each source, if these are limited. */
  open: number;
  readonly sources: TailSources | undefined;
  /** Whether its forwarder has ended before it answered about a client, and not answered about one since. */
  hasEnded: boolean;
}

/** Creates the front of a link. */
export function createFront(options: FrontOptions): Front {
  const { relay, policy, isChecked } = options;
  const { loop, log, counters } = relay;
  const drained = watchNames(options.drainedFile, { absent: options.drained, what: 'drained', log });
  const unhealthy = watchNames(options.unhealthyFile, { absent: [], what: 'unhealthy', log });
  /** Clients wait as long as for a single tail, or as long as the slowest tail may take. */
  const longest = Math.max(relay.dialTimeout, ...options.tails.map(({ timeout }) => timeout));
  let picks = 0;
  let clients = 0;
  const tails = options.tails.map(createTail);
  const sessions = (): number => tails.reduce((sum, { open }) => sum + open, 0);

  function createTail(option: TailOption): Tail {
    const state = createTailState(option);
    const offered = new Map<number, Client>();
    const tail: Tail = {
      state,
      offered,
      open: 0,
      sources: relay.sources && createTailSources(relay.sources),
      hasEnded: false,
      connection: createTailConnection(relay, option, {
        accepted: (id, rejection) => withClient(tail, id, (client) => accepted(tail, client, rejection)),
        refused: (id, reason) =>
          withClient(tail, id, (client) => {
            tail.hasEnded = false;
            failed(tail, reason, false);
            client.reason = reason;
            offer(client);
          }),
        gone: (id) =>
          withClient(tail, id, (client) => {
            state.isProbed = false;
            drop(client);
          }),
        sessions: (open) => {
          if (open === tail.open) return;
          tail.open = open;
          update(tail);
          options.onChange();
        },
        source: (text) => tail.sources?.told(text),
        checked: (failure) => checked(tail, failure),
        rejected: (failure) => rejected(tail, failure),
        ended: () => ended(tail),
      }),
    };
    return tail;
  }

  function update({ state, offered, open, connection }: Tail): void {
    state.load = open + offered.size;
    state.isAsleep = state.option.isOnDemand && !connection.isOpen();
    counters.open = relay.open + sessions();
  }

  function withClient(tail: Tail, id: number, use: (client: Client) => void): void {
    const client = tail.offered.get(id);
    if (client === undefined) return;
    takeBack(tail, client);
    use(client);
  }

  function takeBack(tail: Tail, client: Client): void {
    tail.offered.delete(client.id);
    client.offeredTo = undefined;
    stop(loop.timers, client.timer);
    update(tail);
  }

  function take(descriptor: number, proxyInfo?: ProxyInfo): void {
    clients = (clients + 1) & 0x7fffffff;
    const name = proxyInfo?.name ?? (policy === 'source' ? peerOf(descriptor) : undefined);
    const source = relay.sources && sourceOf(descriptor);
    const client: Client = {
      id: clients,
      descriptor,
      name,
      host: policy === 'source' ? hostOf(name) : '',
      source,
      proxyInfo: proxyInfo === undefined ? '' : formatProxyInfo(proxyInfo),
      deadline: loop.now + longest,
      openedAt: loop.now,
      tried: new Set(),
      offeredTo: undefined,
      timer: createTimer(() => (client.offeredTo === undefined ? offerAgain(client) : expired(client))),
      wait: 0,
      reason: '',
    };
    relay.open += 1;
    if (relay.sources !== undefined && source !== undefined) countOpened(relay.sources, source);
    relay.onOpen();
    offer(client);
  }

  function offerAgain(client: Client): void {
    client.tried.clear();
    offer(client);
  }

  /** Offers a client to the best tail that has not failed it, or to any when all are paused. */
  function offer(client: Client): void {
    for (;;) {
      const unused = drained();
      const usable = tails.filter(({ state }) => !unused.has(state.name));
      if (usable.length === 0) {
        abort(client, 'all its tails are drained');
        return;
      }
      const untried = usable.filter((tail) => !client.tried.has(tail));
      const ill = unhealthy();
      const available = untried.filter(({ state }) => isAvailable(state, loop.now) && !ill.has(state.name));
      const candidates = (available.length > 0 ? available : untried).map(({ state }) => state);
      const state = pick(policy, candidates, client.host);
      const tail = untried.find((one) => one.state === state);
      if (tail === undefined) {
        waitForTail(client);
        return;
      }
      if (offerTo(tail, client)) return;
    }
  }

  function offerTo(tail: Tail, client: Client): boolean {
    const { state, connection, offered } = tail;
    client.tried.add(tail);
    const failure = connection.offer(client.id, client.descriptor, client.proxyInfo);
    if (failure !== 0) {
      client.reason = `its forwarder cannot be reached (${errorWords(failure)}): systemctl status wormhole-${options.link}-to-${state.name}.socket`;
      failed(tail, client.reason, false);
      return false;
    }
    picks += 1;
    state.pickedAt = picks;
    state.isProbed = state.failures > 0;
    offered.set(client.id, client);
    client.offeredTo = tail;
    update(tail);
    start(loop.timers, client.timer, loop.now + state.option.timeout);
    return true;
  }

  function accepted(tail: Tail, client: Client, rejection: string): void {
    tail.hasEnded = false;
    // A client that it has accepted may be reset yet. Others go there when it has served this one.
    if (rejection !== '') noteFailed(tail.state, loop.now, true);
    else works(tail);
    counters.served += 1;
    counters.failing = 0;
    counters.observeDial(loop.now - client.openedAt);
    if (client.reason !== '') {
      counters.held += 1;
      counters.heldMs += loop.now - client.openedAt;
    }
    if (client.source !== undefined) tail.sources?.takeOver(client.source);
    forget(client);
  }

  function failed(tail: Tail, reason: string, isSilent: boolean): void {
    const { state } = tail;
    noteFailed(state, loop.now, isSilent);
    log.failure(
      `avoided ${state.name}`,
      `tail ${state.name} does not serve: ${reason}; clients go to the others, and it is tried again`,
      (count) => `tail ${state.name} does not serve: ${reason}; ${count} more clients in the last 10 s`,
    );
  }

  /** A tail has neither accepted nor refused a client. No client that it has not accepted yet waits any longer. */
  function expired(client: Client): void {
    const tail = client.offeredTo;
    if (tail === undefined) return;
    const seconds = tail.state.option.timeout / 1000;
    failed(tail, `its forwarder did not answer for ${seconds} s`, true);
    tail.hasEnded = true;
    tail.connection.cancel();
  }

  function ended(tail: Tail): void {
    const { state, offered, connection } = tail;
    const clients = [...offered.values()];
    const hadSessions = tail.open > 0;
    tail.open = 0;
    tail.sources?.forget();
    // It may have ended because it was idle, just when a client was offered. A second time it is not that.
    if (clients.length > 0 && tail.hasEnded && isAvailable(state, loop.now))
      failed(tail, 'its forwarder has ended', false);
    const isFirst = !tail.hasEnded;
    tail.hasEnded = clients.length > 0;
    // Its next forwarder does the check that brings it back, or a client does.
    if (state.isDown) noteFailed(state, loop.now, false);
    state.isDown = false;
    state.isProbed = false;
    for (const client of clients) {
      takeBack(tail, client);
      if (isFirst) client.tried.delete(tail);
      client.reason = 'its forwarder has ended';
      offer(client);
    }
    update(tail);
    // systemd starts it again if it has died, and it continues its sessions.
    if (!connection.isOpen() && (hadSessions || isWatched(tail)))
      start(
        loop.timers,
        createTimer(() => connection.open()),
        loop.now + RECONNECT_MS,
      );
    options.onChange();
  }

  function works({ state }: Tail): void {
    if (state.isDown || state.failures > 0) log.info('restored', `tail ${state.name} accepts again`);
    noteAccepted(state);
  }

  function rejected(tail: Tail, failure: string): void {
    if (failure === '') works(tail);
    else failed(tail, failure, true);
  }

  function checked(tail: Tail, failure: string): void {
    const { state } = tail;
    if (failure === '') {
      works(tail);
      return;
    }
    if (!state.isDown) log.error('avoided', `tail ${state.name}: ${failure}; new clients go to the others`);
    state.isDown = true;
  }

  function waitForTail(client: Client): void {
    if (loop.now >= client.deadline) {
      abort(client, `no tail has accepted: ${client.reason}`);
      return;
    }
    client.wait = Math.min(LAST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, 2 * client.wait));
    start(loop.timers, client.timer, Math.min(client.deadline, loop.now + client.wait));
  }

  /** Resets a client. A program that sees an error tries again; an end could be taken for an empty answer. */
  function abort(client: Client, message: string): void {
    counters.fail(message);
    log.failure(
      'unreachable',
      `${message}; closed the client ${client.name ?? peerOf(client.descriptor) ?? '(gone)'}; the next connection tries again`,
      (count) => `${message}; closed ${count} more client${count === 1 ? '' : 's'} in the last 10 s`,
    );
    drop(client);
  }

  /** Forgets a client that no tail has taken over. */
  function drop(client: Client): void {
    if (relay.sources !== undefined && client.source !== undefined) countClosed(relay.sources, client.source);
    forget(client);
  }

  /** Closes this process's descriptor of a client. Only if no tail has another one, the client is reset. */
  function forget(client: Client): void {
    stop(loop.timers, client.timer);
    close(client.descriptor);
    relay.open -= 1;
    counters.open = relay.open + sessions();
    relay.onClose();
  }

  function isWatched({ state }: Tail): boolean {
    return isChecked && !state.option.isOnDemand;
  }

  for (const tail of tails) {
    const mayHaveSources = relay.sources !== undefined && !tail.state.option.isOnDemand;
    if (mayHaveSources || isWatched(tail)) tail.connection.open();
  }
  return { take, sessions };
}

/** The host of "10.0.0.1:51234", "[::1]:51234" or "10.0.0.1:51234 behind 10.0.0.9:50000". */
function hostOf(peer: string | undefined): string {
  return peer?.replace(/:\d+( behind .*)?$/, '') ?? '';
}
