import { createFront } from './balance/front.js';
import type { Capacity } from './capacity.js';
import type { Relay } from './connection.js';
import { serveOffers } from './hand-off/receive.js';
import { listen, type PassedSockets } from './listen.js';
import type { Options } from './options.js';
import { createProxyProtocol } from './proxy-protocol/serve.js';
import { createRate } from './rate.js';
import { type Serve, serve } from './serve.js';
import type { Survival } from './store/open.js';
import { resumeConnection, streams } from './store/streams.js';
import { datagrams as datagramSessions } from './udp/resume.js';
import { serveDatagrams } from './udp/serve.js';
import { serveUnixDatagrams } from './unix/datagrams.js';
import { servePackets } from './unix/packets.js';
import { unixDatagrams as unixDatagramSessions } from './unix/stored-datagrams.js';
import { packets as packetConnections } from './unix/stored-packets.js';
import type { Workers } from './workers/workers.js';

/** What serves the clients at the sockets of a link: one server for each kind of socket. */
export interface Servers {
  /** Connections and sessions now, with those of other threads and of the tails that clients were handed to. */
  open(): number;
  /** Those of them that can outlive the process, or are reset when it ends. */
  ownSessions(): number;
  /** Serves the clients that wait at the moment. */
  acceptPending(): void;
  /** Accepts clients again, because a connection has been closed. */
  resumeAccepting(): void;
  /** Accepts no client of the listening sockets any more. */
  stopAccepting(): void;
  /** The target of the relay has changed. */
  retarget(): void;
  /** Sends and tells what has been collected in a round of the loop. Returns whether some is left for the next one. */
  finishRound(): boolean;
  /** Continues the sessions of an earlier process. Returns how many. */
  resumeSessions(): number;
  /** Has all sessions of datagrams outlive the process. */
  outliveAll(): void;
}

/** What the servers of a link are created with. */
export interface ServersOptions {
  readonly options: Options;
  readonly sockets: PassedSockets;
  readonly capacity: Capacity;
  readonly relay: Relay;
  readonly workers: Workers | undefined;
  readonly survival: Survival;
  /** Called when a client is accepted, and when a session has ended. */
  readonly onOpen: () => void;
  readonly onClose: () => void;
}

/** Creates the servers for the sockets that the service manager has passed. */
export function createServers(context: ServersOptions): Servers {
  const { relay, workers, survival } = context;
  const front = createFrontOf(context, () => {
    listener?.resume();
    context.onClose();
  });
  const listener = createListener(context, front);
  const udp = createUdp(context);
  const { unixDatagrams, packets } = createMessageServers(context);
  const offers = createOffers(context);
  const relayed = () =>
    relay.open +
    (workers?.sessions() ?? 0) +
    (udp?.relay.sessions.count ?? 0) +
    (unixDatagrams?.count() ?? 0) +
    (packets?.count() ?? 0);
  return {
    open: () => relayed() + (front?.sessions() ?? 0) + (offers?.watching() ?? 0),
    ownSessions: relayed,
    acceptPending() {
      listener?.acceptPending();
      udp?.readPending();
      unixDatagrams?.readPending();
      packets?.acceptPending();
      offers?.acceptPending();
    },
    resumeAccepting: () => listener?.resume(),
    stopAccepting: () => listener?.stop(),
    retarget: () => udp?.setTarget(relay.to, relay.target),
    finishRound() {
      offers?.finishRound();
      return udp?.finishRound() ?? false;
    },
    resumeSessions() {
      const count = survival.resume({
        [streams.code]: (remains) => resumeConnection(relay, remains),
        ...(udp && { [datagramSessions.code]: udp.resume }),
        ...(unixDatagrams && { [unixDatagramSessions.code]: unixDatagrams.resume }),
        ...(packets && { [packetConnections.code]: packets.resume }),
      });
      udp?.resumed();
      unixDatagrams?.resumed();
      return count;
    },
    outliveAll() {
      udp?.outliveAll();
      unixDatagrams?.outliveAll();
    },
  };
}

type Front = ReturnType<typeof createFrontOf>;

/** What hands the clients of a link with several tails over to these. */
function createFrontOf({ options, relay }: ServersOptions, onChange: () => void) {
  if (options.balance === undefined) return undefined;
  return createFront({
    ...options.balance,
    link: options.link,
    relay,
    isChecked: options.checkEvery !== undefined,
    onChange,
  });
}

/** What accepts clients of TCP and of unix sockets for streams. */
function createListener(
  { options, sockets, capacity: { maxClients }, relay, workers, onOpen }: ServersOptions,
  front: Front,
) {
  if (sockets.streams.length === 0) return undefined;
  const serveStream: Serve =
    workers === undefined
      ? serve
      : (_, client, accepted) => {
          workers.take(client, accepted);
          onOpen();
        };
  return listen(relay, sockets.streams, {
    maxOpen: maxClients,
    open: () => relay.open + (front?.sessions() ?? 0) + (workers?.sessionsUpTo(maxClients - relay.open) ?? 0),
    rate: options.rate === undefined ? undefined : createRate(options.rate, relay.loop.now),
    proxy: createProxyProtocol(options.proxyProtocol, options.acceptProxyProtocol),
    serve: front === undefined ? serveStream : (_, client, { proxyInfo }) => front.take(client, proxyInfo),
  });
}

/** What relays the datagrams of UDP. */
function createUdp({ options, sockets, capacity, relay, survival, onOpen, onClose }: ServersOptions) {
  if (sockets.datagrams.length === 0) return undefined;
  const udp = serveDatagrams(sockets.datagrams, {
    loop: relay.loop,
    log: relay.log,
    access: relay.access,
    device: relay.device,
    resolver: relay.resolver,
    restarter: relay.restarter,
    named: relay.named,
    counters: relay.counters,
    starter: relay.starter,
    targetFailed: relay.targetFailed,
    dialTimeout: relay.dialTimeout,
    timeout: options.udpTimeout,
    maxSessions: capacity.maxSessions,
    survivors: survival.store?.register(datagramSessions),
    onOpen,
    onClose,
  });
  udp.setTarget(relay.to, relay.target);
  return udp;
}

/** What relays messages of unix sockets. Their target is a unix socket, whose address never changes. */
function createMessageServers({
  options,
  sockets,
  capacity,
  relay,
  survival: { store },
  onOpen,
  onClose,
}: ServersOptions) {
  const { to } = relay;
  if (to === undefined) return {};
  const common = {
    loop: relay.loop,
    log: relay.log,
    counters: relay.counters,
    to,
    target: relay.target,
    dialTimeout: relay.dialTimeout,
    targetFailed: relay.targetFailed,
    starter: relay.starter,
    restarter: relay.restarter,
    onOpen,
    onClose,
  };
  const [datagramFd] = sockets.unixDatagrams;
  const [packetFd] = options.handOff === undefined ? sockets.packets : [];
  const { maxOpen, maxSessions } = capacity;
  return {
    unixDatagrams:
      datagramFd === undefined
        ? undefined
        : serveUnixDatagrams(datagramFd, {
            ...common,
            timeout: options.udpTimeout,
            maxSessions,
            survivors: store?.register(unixDatagramSessions),
          }),
    packets:
      packetFd === undefined
        ? undefined
        : servePackets(packetFd, { ...common, maxOpen, survivors: store?.register(packetConnections) }),
  };
}

/** What takes the clients that a front forwarder offers to one of its tails. */
function createOffers({ options, sockets, capacity, relay, workers, onClose }: ServersOptions) {
  const [fd] = sockets.packets;
  if (fd === undefined || options.handOff === undefined) return undefined;
  return serveOffers(fd, {
    relay,
    maxOpen: capacity.maxOpen,
    mayRetry: options.handOff === 'retry',
    checkEvery: options.checkEvery,
    elsewhere: () => workers?.sessions() ?? 0,
    onQuiet: onClose,
  });
}
