import koffi from 'koffi';
import {
  AF_INET,
  close,
  connect,
  E,
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLLIN,
  epollCreate,
  epollCtl,
  epollWait,
  errno,
  errorWords,
  MSG_DONTWAIT,
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
  sendmmsg,
  setsockopt,
  socket,
} from '../../src/forwarder/syscalls.ts';
import {
  bufferOf,
  createMessages,
  HEADER_BYTES,
  lengthOf,
  nameSizeOf,
  nameWord,
  prepareReceive,
  prepareSend,
  setVector,
} from '../../src/forwarder/udp/messages.ts';

/*
 * The two ends of the benchmark of datagrams, each a process of its own that the benchmark asks over IPC: a server that answers
 * each datagram with itself at one port, and counts at the next, and clients. They use recvmmsg(2) and sendmmsg(2), so that they
 * cost less than any relay.
 */

/** What the clients are asked to do. */
export interface Order {
  /** Asks and waits for answers, or only sends at a rate. */
  readonly kind: 'ask' | 'send';
  readonly port: number;
  /** Bytes of a datagram, at least 4 and at most {@link ROOM}. */
  readonly size: number;
  readonly clients: number;
  /** Questions of a client on the way at a time. */
  readonly window: number;
  /** Datagrams a second that are sent, all clients together. */
  readonly rate: number;
  readonly seconds: number;
}

/** What they have seen. Before it, they report that they begin to ask, for the sessions of all of them exist. */
export interface Report {
  /** Datagrams sent, and answers received. */
  readonly sent: number;
  readonly received: number;
  /** Of those sent, the ones that were not answered. */
  readonly lost: number;
  readonly seconds: number;
}

const BATCH = 64;
const ROOM = 2048;

/** Answers that have not come by then are lost, ms. */
const LATE_MS = 300;

const libc = koffi.load(null);
const bind = libc.func('int bind(int fd, int64_t addr, uint size)');
const value = pinned(4);
const events = pinned(256 * 16);
const EVENT_WORDS = process.arch === 'x64' ? 3 : 4;

function open(port: number, join: (fd: number, addr: number, size: number) => number): number {
  const fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  value.words[0] = 4 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, value.address, 4);
  const address = pinned(16);
  address.bytes.writeUInt16LE(AF_INET, 0);
  address.bytes.writeUInt16BE(port, 2);
  address.bytes.writeUInt32BE(0x7f000001, 4);
  if (fd < 0 || join(fd, address.address, 16) < 0) throw new Error(`port ${port}: ${errorWords(errno())}`);
  return fd;
}

function watch(epoll: number, fd: number, data: number): void {
  const event = pinned(16);
  event.words[0] = EPOLLIN;
  event.words[EVENT_WORDS - 2] = data;
  if (epollCtl(epoll, EPOLL_CTL_ADD, fd, event.address) < 0) throw new Error(errorWords(errno()));
}

/** Answers at `port` and counts at the next one. Each message of the parent is answered with the count. */
async function serve(port: number): Promise<never> {
  const epoll = epollCreate(EPOLL_CLOEXEC);
  const [echo, sink] = [open(port, bind), open(port + 1, bind)];
  watch(epoll, echo, 0);
  watch(epoll, sink, 1);
  const messages = createMessages(BATCH);
  let counted = 0;
  process.on('message', () => process.send?.(counted));
  process.send?.('ready');
  for (;;) {
    const end = performance.now() + 20;
    while (performance.now() < end) {
      const ready = epollWait(epoll, events.address, 16, 5);
      for (let i = 0; i < ready; i++) {
        const isSink = events.words[i * EVENT_WORDS + EVENT_WORDS - 2] === 1;
        prepareReceive(messages, 0, true);
        const count = recvmmsg(isSink ? sink : echo, messages.headers.address, BATCH, MSG_DONTWAIT, 0);
        if (count <= 0) continue;
        if (isSink) counted += count;
        else answer(echo, messages, count);
      }
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function answer(fd: number, messages: ReturnType<typeof createMessages>, count: number): void {
  for (let i = 0; i < count; i++) {
    const name = messages.names.address + 4 * nameWord(i);
    setVector(messages, i, bufferOf(messages, i), lengthOf(messages, i));
    prepareSend(messages, i, {
      name,
      nameSize: nameSizeOf(messages, i),
      vector: i,
      count: 1,
      controlSize: 0,
    });
  }
  for (let sent = 0; sent < count; ) {
    const done = sendmmsg(fd, messages.headers.address + sent * HEADER_BYTES, count - sent, MSG_NOSIGNAL);
    // The error of an earlier datagram, to a client that is gone.
    sent += done > 0 ? done : errno() === E.ECONNREFUSED ? 0 : 1;
  }
}

interface Client {
  readonly fd: number;
  /** The number of the next question, and of the oldest one that may still be answered. */
  next: number;
  oldest: number;
  heardAt: number;
}

const outgoing = createMessages(BATCH);
const incoming = createMessages(BATCH);
const [outBytes, inBytes]: [Pinned, Pinned] = [pinned(BATCH * ROOM), pinned(BATCH * ROOM)];
for (let i = 0; i < BATCH; i++) {
  setVector(incoming, i, inBytes.address + i * ROOM, ROOM);
}

/** Sends the next `count` questions of a client. Returns how many the kernel has taken. */
function ask(client: Client, count: number, size: number): number {
  const batch = Math.min(count, BATCH);
  for (let i = 0; i < batch; i++) {
    outBytes.words[(i * ROOM) / 4] = client.next + i;
    setVector(outgoing, i, outBytes.address + i * ROOM, size);
    prepareSend(outgoing, i, { name: 0, nameSize: 0, vector: i, count: 1, controlSize: 0 });
  }
  const sent = sendmmsg(client.fd, outgoing.headers.address, batch, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent > 0) client.next += sent;
  return Math.max(0, sent);
}

/** Counts of what has arrived in time. */
interface Counts {
  received: number;
  lost: number;
}

/** Reads answers. An answer says that those before it, which are missing, are lost. */
function hear(client: Client, counts: Counts, now: number): void {
  for (let count = BATCH; count === BATCH; ) {
    prepareReceive(incoming, 0, false);
    count = recvmmsg(client.fd, incoming.headers.address, BATCH, MSG_DONTWAIT, 0);
    for (let i = 0; i < count; i++) {
      const number = inBytes.words[(i * ROOM) / 4] as number;
      counts.received += 1;
      if (number < client.oldest) counts.lost -= 1;
      else {
        counts.lost += number - client.oldest;
        client.oldest = number + 1;
      }
      client.heardAt = now;
    }
  }
}

function askAndHear({ port, size, clients: count, window, seconds }: Order): Report {
  const epoll = epollCreate(EPOLL_CLOEXEC);
  const clients = Array.from({ length: count }, (_, n): Client => {
    const fd = open(port, connect);
    watch(epoll, fd, n);
    return { fd, next: 0, oldest: 0, heardAt: 0 };
  });
  let counts: Counts = { received: 0, lost: 0 };
  const turn = (wait: number): void => {
    const ready = epollWait(epoll, events.address, 256, wait);
    const now = performance.now();
    for (let i = 0; i < ready; i++) {
      const client = clients[events.words[i * EVENT_WORDS + EVENT_WORDS - 2] as number] as Client;
      hear(client, counts, now);
      if (now < end) sent += ask(client, window - (client.next - client.oldest), size);
    }
  };
  let sent = 0;
  let end = 0;
  // One question of each begins its session, whose cost is not that of datagrams.
  for (let attempt = 0; attempt < 5 && counts.received < count; attempt++) {
    for (const client of clients) {
      if (client.oldest > 0) continue;
      ask(client, 1, size);
      turn(0);
    }
    for (const until = performance.now() + LATE_MS; counts.received < count && performance.now() < until; )
      turn(10);
  }
  process.send?.('begins');
  counts = { received: 0, lost: 0 };
  for (const client of clients) client.oldest = client.next;
  const begin = performance.now();
  end = begin + 1000 * seconds;
  for (const client of clients) sent += ask(client, window, size);
  for (let swept = begin; performance.now() < end; ) {
    turn(10);
    const now = performance.now();
    if (now < swept + LATE_MS / 3) continue;
    swept = now;
    for (const client of clients) {
      if (client.next === client.oldest || now < client.heardAt + LATE_MS || now < begin + LATE_MS) continue;
      counts.lost += client.next - client.oldest;
      client.oldest = client.next;
      sent += ask(client, window, size);
    }
  }
  const took = (performance.now() - begin) / 1000;
  const { received } = counts;
  for (const until = performance.now() + LATE_MS; performance.now() < until; ) turn(10);
  for (const client of clients) counts.lost += client.next - client.oldest;
  for (const { fd } of clients) close(fd);
  close(epoll);
  return { sent, received, lost: counts.lost, seconds: took };
}

/** Sends at a rate, in equal parts a millisecond. */
function sendAtRate({ port, size, rate, seconds }: Order): Report {
  const client: Client = { fd: open(port, connect), next: 0, oldest: 0, heardAt: 0 };
  const begin = performance.now();
  for (let now = begin; now < begin + 1000 * seconds; now = performance.now()) {
    const due = Math.floor((rate * (now - begin)) / 1000) - client.next;
    if (due > 0) ask(client, due, size);
    else poll(0, 0, 1);
  }
  close(client.fd);
  return { sent: client.next, received: 0, lost: 0, seconds: (performance.now() - begin) / 1000 };
}

if (process.send !== undefined) {
  if (process.argv[2] === 'server') await serve(Number(process.argv[3]));
  process.on('message', (order: Order) =>
    process.send?.(order.kind === 'ask' ? askAndHear(order) : sendAtRate(order)),
  );
  process.send('ready');
}
