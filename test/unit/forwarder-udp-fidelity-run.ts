import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import {
  AF_INET,
  close,
  connect,
  E,
  errno,
  errorWords,
  getsockopt,
  IP_RECVERR,
  IPPROTO_IP,
  MSG_ERRQUEUE,
  MSG_NOSIGNAL,
  type Pinned,
  pinned,
  poll,
  recvmmsg,
  SO_RCVBUF,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  SOL_UDP,
  sendFrom,
  setsockopt,
  socket,
} from '../../src/forwarder/syscalls.ts';
import { createMessages, nameWord, prepareReceive } from '../../src/forwarder/udp/messages.ts';
import { IDENTIFYING, PHASES, type Script, type Step } from './forwarder-udp-fidelity-script.ts';

/*
 * Plays scripts of datagrams, many at a time, against one server, and judges what has arrived. The buffers of the sockets are large
 * and the player never has more on the way than they hold, so that directly, over loopback, nothing is lost:
 *
 * - What a client sends arrives at the server once, in order, with its contents and boundaries, and all of it from one address as
 *   long as server and client stay. What the server sends to that address arrives at that client alone, in the same way, from the
 *   address that the client has called.
 * - What a client sends while the server is down may be lost. If it arrives later, that is once and in order too.
 * - A server that sends to a client that is gone is refused in the end.
 */

const libc = koffi.load(null);
const bind = libc.func('int bind(int fd, int64_t addr, uint size)');
const recvfrom: (...args: number[]) => number = libc.func(
  'int recvfrom(int fd, int64_t bytes, int64_t size, int flags, int64_t addr, int64_t addrSize)',
);
const [UDP_SEGMENT, ADDRESS_BYTES] = [103, 16];

/** Bytes of the headers of IPv4 and UDP. */
const HEADERS = 28;

/** The name of the environment variable with the MTU of the loopback interface, if it is another than usual. */
export const LOOPBACK_MTU = 'WORMHOLE_TEST_LOOPBACK_MTU';

/** How long the server waits before it sends again to a client that has left, ms. */
const PROBE_MS = 20;

/** What a probe has in place of the number of a datagram, and its size, bytes. */
const PROBE = 0xffff_ffff;
const PROBE_BYTES = 12;

/** Bytes of the contents; those of a datagram begin at a place that its sender and number give. */
const PERIOD = 1_000_003;
const contents = pinned(1_000_004 + (1 << 16));
for (let at = 0; at < contents.bytes.length; at++)
  contents.bytes[at] = (Math.imul((at % PERIOD) + 1, 0x9e3779b1) >>> 13) & 0xff;

const outgoing = pinned(1 << 16);
const incoming = pinned(1 << 16);
const expected = pinned(1 << 16);
const from = pinned(ADDRESS_BYTES);
const value = pinned(4);
const size4 = pinned(4);
const errors = createMessages(16);

type Direction = 'up' | 'down';

interface Sent {
  readonly text: string;
  readonly isRequired: boolean;
}

/** The datagrams between a client and the server in one direction. */
interface Lane {
  readonly sent: Sent[];
  readonly received: string[];
  /** How many had been received when they were last compared, and what that has shown. */
  compared: number;
  verdict: Verdict;
}

interface Verdict {
  wrong: string | undefined;
  isComplete: boolean;
}

interface Client {
  readonly session: Session;
  readonly slot: number;
  fd: number;
  /** Its own address, which it has again when it returns, and the one that it calls. */
  readonly own: Pinned;
  readonly called: Pinned;
  readonly up: Lane;
  readonly down: Lane;
  /** Where the server sends to, if it knows that. */
  conversation: Conversation | undefined;
  /** The addresses from which the server has heard it since it last forgot them. */
  readonly sources: Set<string>;
  probedAt: number;
}

/** What the server has heard from one address. */
interface Conversation {
  readonly address: Pinned;
  client: Client | undefined;
  /** Datagrams too small to tell who has sent them, until another one has told it. */
  readonly unidentified: string[];
  isRefused: boolean;
}

interface Session {
  readonly script: Script;
  readonly clients: Client[];
  step: number;
  /** How many datagrams of the step have been sent. */
  part: number;
  /** When the step began. */
  since: number;
  trouble: string | undefined;
}

export interface Trouble {
  readonly seed: number;
  readonly what: string;
}

/** A server that is down at first. */
export interface Server {
  readonly port: number;
  fd: number;
  readonly conversations: Map<string, Conversation>;
}

export interface PlayOptions {
  readonly server: Server;
  /** The port and the addresses that clients call: those of the relay, or of the server itself. */
  readonly port: number;
  readonly hosts: readonly string[];
  /** How long one step may take, ms. */
  readonly timeout: number;
  /** The MTU of the loopback interface, bytes, beyond which the kernel does not join datagrams. */
  readonly mtu: number;
}

/** A server whose port is below those that the kernel gives to clients (net.ipv4.ip_local_port_range), so that none takes it. */
export function createServer(): Server {
  for (;;) {
    const server: Server = { port: randomInt(20_000, 32_000), fd: -1, conversations: new Map() };
    if (!openServer(server)) continue;
    closeServer(server);
    return server;
  }
}

function openServer(server: Server): boolean {
  const fd = createSocket();
  set(fd, IPPROTO_IP, IP_RECVERR, 1);
  if (bind(fd, sockaddr('127.0.0.1', server.port).address, ADDRESS_BYTES) < 0) {
    close(fd);
    return false;
  }
  server.fd = fd;
  return true;
}

/**
 * Whether a socket at the port has datagrams that nobody has received. The kernel lists local addresses as hexadecimal ADDRESS:PORT,
 * and the bytes of each socket as SEND:RECEIVE (proc_pid_net(5)).
 */
function waitsToBeRead(port: number): boolean {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const sockets = readFileSync('/proc/self/net/udp', 'utf8').split('\n').slice(1);
  return sockets.some((line) => {
    const [, local, , , queues = ''] = line.trim().split(/ +/);
    return local?.endsWith(suffix) && !queues.endsWith(':00000000');
  });
}

function closeServer(server: Server): void {
  close(server.fd);
  server.fd = -1;
  server.conversations.clear();
}

/** Plays all `scripts` at the same time and returns what did not arrive as it does directly. */
export function play(scripts: readonly Script[], options: PlayOptions): Trouble[] {
  const { server } = options;
  const sessions = scripts.map((script, index) => begin(script, index, options));
  const flight = { bytes: 0, limit: bufferOf(sessions[0]?.clients[0]?.fd ?? -1) / 3 };
  for (const [phase, state] of PHASES.entries()) {
    if (server.fd >= 0) closeServer(server);
    // What was sent to a server that is down is not counted as on the way, and would take the room of what must arrive.
    for (const end = Date.now() + options.timeout; waitsToBeRead(options.port) && Date.now() < end; )
      poll(0, 0, 1);
    if (state === 'up' && !openServer(server)) throw new Error(`port ${server.port} was taken by somebody`);
    const now = Date.now();
    for (const session of sessions) {
      Object.assign(session, { step: 0, part: 0, since: now });
      for (const client of session.clients) {
        client.conversation = undefined;
        client.sources.clear();
      }
    }
    for (let busy = sessions.filter(({ trouble }) => trouble === undefined); busy.length > 0; ) {
      const before = flight.bytes;
      let moved = receive(sessions, server, flight);
      for (const session of busy) moved = advance(session, { phase, flight, sessions, ...options }) || moved;
      busy = busy.filter((session) => session.trouble === undefined && !isOver(session, phase));
      if (!moved && flight.bytes === before) poll(0, 0, 1);
    }
    for (const { unidentified, client } of server.conversations.values()) {
      const [session] = sessions;
      if (client === undefined && unidentified.length > 0 && session !== undefined)
        session.trouble ??= `${unidentified.length} datagrams came from an address of their own`;
    }
  }
  closeServer(server);
  for (const { clients } of sessions) for (const { fd } of clients) if (fd >= 0) close(fd);
  return sessions.flatMap(({ script, trouble }) =>
    trouble === undefined ? [] : [{ seed: script.seed, what: trouble }],
  );
}

function begin(script: Script, index: number, { port, hosts }: PlayOptions): Session {
  const session: Session = { script, clients: [], step: 0, part: 0, since: 0, trouble: undefined };
  for (const [slot, { host, sharesPort }] of script.clients.entries()) {
    // Addresses of its own, so that its clients can share a port.
    const own = sockaddr(`127.${2 + (index >> 8)}.${index & 255}.${1 + slot}`, 0);
    const first = session.clients[0];
    if (sharesPort && first !== undefined) first.own.bytes.copy(own.bytes, 2, 2, 4);
    else takePort(own);
    const client: Client = {
      session,
      slot,
      fd: -1,
      own,
      called: sockaddr(hosts[host % hosts.length] as string, port),
      up: createLane(),
      down: createLane(),
      conversation: undefined,
      sources: new Set(),
      probedAt: 0,
    };
    session.clients.push(client);
    openClient(client);
  }
  return session;
}

/** Chooses a port for an address: none that the kernel gives to others, so that it is free when the client returns. */
function takePort(own: Pinned): void {
  for (;;) {
    own.bytes.writeUInt16BE(randomInt(10_000, 20_000), 2);
    const fd = createSocket();
    const isFree = bind(fd, own.address, ADDRESS_BYTES) === 0;
    close(fd);
    if (isFree) return;
  }
}

function createLane(): Lane {
  return { sent: [], received: [], compared: -1, verdict: { wrong: undefined, isComplete: true } };
}

function openClient(client: Client): void {
  const { session, slot, own, called } = client;
  client.fd = createSocket();
  must('bind', bind(client.fd, own.address, ADDRESS_BYTES));
  if (session.script.clients[slot]?.isConnected)
    must('connect', connect(client.fd, called.address, ADDRESS_BYTES));
}

/** What a round of the player needs. */
interface Round extends PlayOptions {
  readonly phase: number;
  readonly flight: Flight;
  readonly sessions: readonly Session[];
}

/** Bytes of kernel memory that datagrams on the way take up, about, and how many may. */
interface Flight {
  bytes: number;
  readonly limit: number;
}

function cost(size: number): number {
  return 2 * size + 1500;
}

function isOver({ script, clients, step }: Session, phase: number): boolean {
  return step >= (script.phases[phase]?.length ?? 0) && clients.every(isSettled);
}

/** Does what can be done now. Returns whether that was anything. */
function advance(session: Session, round: Round): boolean {
  const { script, clients } = session;
  const wrong = clients.map(({ up, down }) => up.verdict.wrong ?? down.verdict.wrong).find(Boolean);
  if (wrong !== undefined) {
    session.trouble ??= wrong;
    return true;
  }
  const now = Date.now();
  const step = script.phases[round.phase]?.[session.step];
  if (step !== undefined && act(session, step, round)) {
    session.step += 1;
    session.part = 0;
    session.since = now;
    return true;
  }
  if (now > session.since + round.timeout && (step !== undefined || !clients.every(isSettled)))
    session.trouble ??= `waits in vain in step ${session.step} of phase ${round.phase}: ${clients.map(lanesOf).join('; ')}`;
  return false;
}

/** Does a step, or as much of it as can be done. Returns whether it is over. */
function act(session: Session, step: Step, round: Round): boolean {
  const { phase, flight, server, mtu } = round;
  if (step.do === 'settle') return session.clients.every(isSettled);
  if (step.do === 'sleep') return Date.now() >= session.since + step.ms;
  const client = session.clients[step.slot] as Client;
  if (step.do === 'send') {
    const isRequired = PHASES[phase] === 'up';
    if (step.from === 'target' && client.conversation === undefined) return false;
    const isJoined = step.joined && (step.sizes[0] ?? 0) + HEADERS <= mtu;
    while (session.part < step.sizes.length) {
      const sizes = isJoined ? step.sizes : step.sizes.slice(session.part, session.part + 1);
      const bytes = sizes.reduce((sum, size) => sum + cost(size), 0);
      if (flight.bytes > 0 && flight.bytes + bytes > flight.limit) return false;
      send(client, step.from === 'client' ? 'up' : 'down', { sizes, isRequired, server });
      if (isRequired) flight.bytes += bytes;
      session.part += sizes.length;
    }
    return true;
  }
  if (step.do === 'return') {
    client.probedAt = 0;
    openClient(client);
    return true;
  }
  if (step.do === 'leave') {
    if (!isSettled(client)) return false;
    close(client.fd);
    client.fd = -1;
    return true;
  }
  return probe(client, round);
}

/** The server sends to a client that is gone. Returns whether the kernel has refused that. */
function probe(client: Client, { server, sessions, flight }: Round): boolean {
  // Another client may have the address by now: see arrivedAtServer().
  receiveAtServer(sessions, server, flight);
  const { conversation } = client;
  if (conversation === undefined) return false;
  if (conversation.isRefused) {
    const key = keyOf(conversation.address);
    if (server.conversations.get(key) === conversation) server.conversations.delete(key);
    client.conversation = undefined;
    client.sources.clear();
    return true;
  }
  if (Date.now() >= client.probedAt + PROBE_MS) {
    client.probedAt = Date.now();
    outgoing.bytes.writeUInt32LE(client.session.script.seed >>> 0, 0);
    outgoing.bytes.writeUInt32LE(2 * client.slot + 1, 4);
    outgoing.bytes.writeUInt32LE(PROBE, 8);
    transmit(server.fd, PROBE_BYTES, conversation.address.address);
  }
  return false;
}

function send(
  client: Client,
  direction: Direction,
  { sizes, isRequired, server }: { sizes: readonly number[]; isRequired: boolean; server: Server },
): void {
  const lane = client[direction];
  let length = 0;
  for (const size of sizes) {
    const at = compose(outgoing, length, client, { direction, number: lane.sent.length, size });
    lane.sent.push({ text: textOf(outgoing, length, size), isRequired });
    length = at;
  }
  lane.compared = -1;
  const fd = direction === 'up' ? client.fd : server.fd;
  const isConnected = direction === 'up' && client.session.script.clients[client.slot]?.isConnected;
  const to = direction === 'up' ? client.called : (client.conversation as Conversation).address;
  if (sizes.length > 1) set(fd, SOL_UDP, UDP_SEGMENT, sizes[0] as number);
  // The error of an earlier datagram is reported once, in place of sending this one.
  for (let attempt = 0; !transmit(fd, length, isConnected ? 0 : to.address) && attempt < 50; attempt++)
    if (direction === 'down') drainErrors(server);
  if (sizes.length > 1) set(fd, SOL_UDP, UDP_SEGMENT, 0);
}

function transmit(fd: number, length: number, to: number): boolean {
  const sent = sendFrom(fd, outgoing.address, length, MSG_NOSIGNAL, to, to === 0 ? 0 : ADDRESS_BYTES);
  if (sent >= 0) return true;
  if (errno() !== E.ECONNREFUSED) throw new Error(`send failed (${errorWords(errno())})`);
  return false;
}

/** Writes a datagram to memory at an offset. Returns where it ends. */
function compose(
  memory: Pinned,
  at: number,
  { session, slot }: Client,
  { direction, number, size }: { direction: Direction; number: number; size: number },
): number {
  const way = direction === 'up' ? 0 : 1;
  const key = Math.imul(session.script.seed, 7919) + 104_729 * (2 * slot + way) + 15_485 * number;
  const begin = ((key % PERIOD) + PERIOD) % PERIOD;
  contents.bytes.copy(memory.bytes, at, begin, begin + size);
  if (size >= IDENTIFYING) {
    memory.bytes.writeUInt32LE(session.script.seed >>> 0, at);
    memory.bytes.writeUInt32LE(2 * slot + way, at + 4);
    memory.bytes.writeUInt32LE(number, at + 8);
  }
  return at + size;
}

/** A datagram in words, by which it is compared: who has sent it as which, and its size; the bytes of a small one. */
function textOf({ bytes }: Pinned, at: number, size: number): string {
  if (size < IDENTIFYING) return `0x${bytes.toString('hex', at, at + size)}`;
  return `${bytes.readUInt32LE(at)}/${bytes.readUInt32LE(at + 4)}/${bytes.readUInt32LE(at + 8)} of ${size} bytes`;
}

/** Receives what has arrived anywhere. Returns whether that was anything. */
function receive(sessions: readonly Session[], server: Server, flight: Flight): boolean {
  let moved = receiveAtServer(sessions, server, flight);
  for (const { clients } of sessions) {
    for (const client of clients) {
      if (client.fd < 0) continue;
      for (let size = receiveAt(client.fd); size >= 0 || size === -2; size = receiveAt(client.fd)) {
        moved = true;
        if (size < 0 || isProbeOfAnother(client, size)) continue;
        flight.bytes = Math.max(0, flight.bytes - cost(size));
        const isCalled = from.bytes.equals(client.called.bytes);
        client.down.received.push(
          isCalled ? checkedText(client, 'down', size) : `a datagram of ${keyOf(from)}`,
        );
      }
    }
  }
  return moved;
}

/**
 * Whether the datagram in `incoming` asks whether another client is gone, which had the port of the relay's socket before: see
 * hasSuccessor().
 */
function isProbeOfAnother({ session, slot }: Client, size: number): boolean {
  const { bytes } = incoming;
  if (size !== PROBE_BYTES || bytes.readUInt32LE(8) !== PROBE) return false;
  return bytes.readUInt32LE(0) !== session.script.seed >>> 0 || bytes.readUInt32LE(4) >> 1 !== slot;
}

/** Receives what has arrived at the server. Returns whether that was anything. */
function receiveAtServer(sessions: readonly Session[], server: Server, flight: Flight): boolean {
  if (server.fd < 0) return false;
  let moved = false;
  for (let size = receiveAt(server.fd); size >= 0 || size === -2; size = receiveAt(server.fd)) {
    moved = true;
    if (size === -2) drainErrors(server);
    else arrivedAtServer(sessions, server, size);
    if (size >= 0) flight.bytes = Math.max(0, flight.bytes - cost(size));
  }
  return moved;
}

/** Receives a datagram in `incoming` from `from`. Returns its size; -1: there is none, -2: an error of an earlier one was reported. */
function receiveAt(fd: number): number {
  size4.words[0] = ADDRESS_BYTES;
  const size = recvfrom(fd, incoming.address, 1 << 16, 0, from.address, size4.address);
  if (size >= 0) return size;
  const failure = errno();
  if (failure === E.EAGAIN) return -1;
  if (failure === E.ECONNREFUSED || failure === E.EINTR) return -2;
  throw new Error(`recvfrom failed (${errorWords(failure)})`);
}

function arrivedAtServer(sessions: readonly Session[], server: Server, size: number): void {
  const key = keyOf(from);
  let conversation = server.conversations.get(key);
  if (conversation?.client !== undefined && hasSuccessor(conversation.client, size)) {
    conversation.isRefused = true;
    conversation = undefined;
  }
  if (conversation === undefined) {
    const address = pinned(ADDRESS_BYTES);
    from.bytes.copy(address.bytes);
    conversation = { address, client: undefined, unidentified: [], isRefused: false };
    server.conversations.set(key, conversation);
  }
  if (conversation.client === undefined && size >= IDENTIFYING) identify(sessions, conversation);
  const { client } = conversation;
  if (client === undefined) {
    conversation.unidentified.push(textOf(incoming, 0, size));
    return;
  }
  client.up.received.push(checkedText(client, 'up', size));
  client.sources.add(key);
  if (client.sources.size > 1)
    client.session.trouble ??= `client ${client.slot} has come from ${[...client.sources].join(' and ')}`;
}

/**
 * Whether a datagram from the address of a client that has left comes from another one. The relay closes the socket of a client that is
 * gone, and the kernel may give its port to the socket of another one before the server has heard that the client is gone.
 */
function hasSuccessor({ session, slot, fd, probedAt }: Client, size: number): boolean {
  if (fd >= 0 || probedAt === 0) return false;
  if (size < IDENTIFYING) return true;
  const { bytes } = incoming;
  return bytes.readUInt32LE(0) !== session.script.seed >>> 0 || bytes.readUInt32LE(4) >> 1 !== slot;
}

function identify(sessions: readonly Session[], conversation: Conversation): void {
  const seed = incoming.bytes.readUInt32LE(0);
  const session = sessions.find(({ script }) => script.seed >>> 0 === seed);
  const client = session?.clients[incoming.bytes.readUInt32LE(4) >> 1];
  if (client === undefined) return;
  conversation.client = client;
  client.conversation = conversation;
  client.up.received.push(...conversation.unidentified.splice(0));
}

/** The text of what has arrived in `incoming`, or that its bytes are not those that were sent. */
function checkedText(client: Client, direction: Direction, size: number): string {
  const text = textOf(incoming, 0, size);
  if (size < IDENTIFYING) return text;
  const number = incoming.bytes.readUInt32LE(8);
  compose(expected, 0, client, { direction, number, size });
  const isRight = expected.bytes.compare(incoming.bytes, 0, size, 0, size) === 0;
  return isRight ? text : `${text} with wrong bytes`;
}

/** Notes to whom the server could not send. */
function drainErrors(server: Server): void {
  prepareReceive(errors, 0, true);
  const count = recvmmsg(server.fd, errors.headers.address, errors.count, MSG_ERRQUEUE, 0);
  for (let i = 0; i < count; i++) {
    const at = 4 * nameWord(i);
    const address = errors.names.bytes.subarray(at, at + ADDRESS_BYTES);
    for (const conversation of server.conversations.values())
      if (conversation.address.bytes.subarray(0, 8).equals(address.subarray(0, 8)))
        conversation.isRefused = true;
  }
}

function isSettled({ up, down, fd }: Client): boolean {
  return fd < 0 || (compare(up).isComplete && compare(down).isComplete);
}

/** Compares what was received with what was sent. */
function compare(lane: Lane): Verdict {
  if (lane.compared !== lane.received.length) {
    lane.compared = lane.received.length;
    lane.verdict = judge(lane.sent, lane.received);
  }
  return lane.verdict;
}

/** What was received must be what was sent, in order, where those that are not required may be missing. */
function judge(sent: readonly Sent[], received: readonly string[]): Verdict {
  let positions = new Set([0]);
  for (const [count, text] of received.entries()) {
    const next = new Set<number>();
    for (const position of positions) {
      for (let at = position; at < sent.length; at++) {
        if (sent[at]?.text === text) next.add(at + 1);
        if (sent[at]?.isRequired) break;
      }
    }
    if (next.size === 0) {
      const waited = sent.slice(Math.max(...positions)).map(({ text }) => text)[0] ?? 'nothing';
      return { wrong: `${text} arrived after ${count} others, where ${waited} was next`, isComplete: false };
    }
    positions = next;
  }
  const isComplete = [...positions].some((at) => sent.slice(at).every(({ isRequired }) => !isRequired));
  return { wrong: undefined, isComplete };
}

function lanesOf({ slot, up, down }: Client): string {
  const story = (lane: Lane): string => {
    const required = lane.sent.filter(({ isRequired }) => isRequired).length;
    return `${lane.received.length} arrived of ${required} to ${lane.sent.length}`;
  };
  return `client ${slot}: ${story(up)}, answers ${story(down)}`;
}

function createSocket(): number {
  const fd = must('socket', socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  // As much as net.core.rmem_max allows.
  set(fd, SOL_SOCKET, SO_RCVBUF, 4 << 20);
  return fd;
}

/** Bytes of the receive buffer of a socket, as the kernel counts them. */
function bufferOf(fd: number): number {
  size4.words[0] = 4;
  must('getsockopt', getsockopt(fd, SOL_SOCKET, SO_RCVBUF, value.address, size4.address));
  return value.words[0] as number;
}

function set(fd: number, level: number, name: number, number: number): void {
  value.words[0] = number;
  must('setsockopt', setsockopt(fd, level, name, value.address, 4));
}

function sockaddr(host: string, port: number): Pinned {
  const address = pinned(ADDRESS_BYTES);
  address.bytes.writeUInt16LE(AF_INET, 0);
  address.bytes.writeUInt16BE(port, 2);
  for (const [i, part] of host.split('.').entries()) address.bytes.writeUInt8(Number(part), 4 + i);
  return address;
}

function keyOf({ bytes }: Pinned): string {
  return `${bytes.subarray(4, 8).join('.')}:${bytes.readUInt16BE(2)}`;
}

function must(what: string, result: number): number {
  if (result < 0) throw new Error(`${what} failed (${errorWords(errno())})`);
  return result;
}
