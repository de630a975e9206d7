import { once } from 'node:events';
import net from 'node:net';

/*
 * Runs on a host: many sessions at once through a link, and checks every byte of both directions.
 *
 *     node --import tsx exchange.ts '{"listen": 4000, "link": 3000, "sessions": 100, "seed": 1, "seconds": 20, "bytes": 4000000}'
 *
 * Each side sends a stream that depends on the session and the direction, in pieces and with pauses that depend on the seed, and
 * ends it after about so many seconds, and with `held` not before standard input ends. Prints "running" when all sessions are old enough to survive, and
 * in the end a line of JSON: how the sessions ended, by kind.
 */

/** What to do. */
export interface ExchangeOptions {
  /** The port of 127.0.0.1 where the servers listen. */
  listen: number;
  /** The port of 127.0.0.1 where the link listens. */
  link: number;
  sessions: number;
  seed: number;
  /** How long a session takes that nothing delays. */
  seconds: number;
  /** The bytes of each direction of a session. Every fourth session sends next to nothing. */
  bytes: number;
  /** Whether each stream keeps its last piece until standard input ends (default: no). */
  held?: boolean;
}

/** How the sessions have ended, "ok" or what was wrong, with the number of each; and the longest pause without a byte, ms. */
export interface ExchangeResult {
  ends: Record<string, number>;
  longestPause: number;
}

/** Sessions are old enough to survive after this time, ms: a second, and what a snapshot takes on a slow machine. */
const OLD_MS = 3000;

/** The length of the repeated part of a stream: a prime, so that no piece of it is where another one could be. */
const PERIOD = 65_521;

/** Random numbers below 2^32 (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

/** The bytes of a stream from `start` up to `end`. */
function streamOf(seed: number): (start: number, end: number) => Buffer {
  const random = randomNumbers(seed);
  const block = Buffer.alloc(PERIOD + 3);
  for (let at = 0; at + 4 <= block.length; at += 4) block.writeUInt32LE(random(), at);
  return (start, end) => {
    const bytes = Buffer.allocUnsafe(end - start);
    for (let at = start; at < end; ) {
      const round = Math.floor(at / PERIOD);
      const from = at % PERIOD;
      const size = Math.min(PERIOD - from, end - at);
      block.copy(bytes, at - start, from, from + size);
      // The rounds differ in one byte each 64.
      for (let mark = from + ((64 - (from % 64)) % 64); mark < from + size; mark += 64) {
        bytes[at - start + mark - from] = ((block[mark] as number) + round) & 0xff;
      }
      at += size;
    }
    return bytes;
  };
}

/** Sends one direction of a session, and ends it with a FIN, but not before `mayEnd`. */
async function send(
  socket: net.Socket,
  options: ExchangeOptions,
  { session, direction, mayEnd }: { session: number; direction: number; mayEnd: Promise<unknown> },
): Promise<void> {
  const random = randomNumbers(options.seed + 7 * session + direction);
  const bytes = session % 4 === 0 ? 1 + (random() % 3) : options.bytes;
  const stream = streamOf(2 * session + direction);
  const pieces = 1 + (random() % 200);
  const pause = (1000 * options.seconds) / pieces;
  let at = 0;
  for (let piece = 0; piece < pieces && !socket.destroyed; piece++) {
    const isLast = piece === pieces - 1;
    if (isLast) await Promise.race([mayEnd, closed(socket)]);
    const end = isLast ? bytes : Math.floor((bytes * (piece + 1)) / pieces);
    if (end > at && !socket.write(stream(at, end)))
      await Promise.race([once(socket, 'drain'), closed(socket)]);
    at = end;
    await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + (random() % 1000) / 1000)));
  }
  if (!socket.destroyed) socket.end();
}

function closed(socket: net.Socket): Promise<unknown> {
  return socket.destroyed ? Promise.resolve() : new Promise((resolve) => socket.once('close', resolve));
}

/** Checks one direction of a session. Returns "ok", or what was wrong. */
function receive(
  socket: net.Socket,
  options: ExchangeOptions,
  session: number,
  direction: number,
  first: Buffer,
): Promise<string> {
  const bytes =
    session % 4 === 0 ? 1 + (randomNumbers(options.seed + 7 * session + direction)() % 3) : options.bytes;
  const stream = streamOf(2 * session + direction);
  const slow = session % 4 === 3 ? randomNumbers(options.seed + session) : undefined;
  let at = 0;
  let wrong = '';
  const take = (data: Buffer): void => {
    if (wrong === '' && at + data.length > bytes) wrong = 'more bytes than were sent';
    else if (wrong === '' && !data.equals(stream(at, at + data.length))) wrong = 'other bytes than were sent';
    at += data.length;
    if (slow === undefined || slow() % 8 !== 0) return;
    // Bytes pile up in the sockets and in the pipe.
    socket.pause();
    setTimeout(() => socket.resume(), slow() % 500);
  };
  return new Promise((resolve) => {
    let error = '';
    if (first.length > 0) take(first);
    socket.on('data', take);
    socket.on('error', ({ message }) => {
      error = message;
    });
    socket.on('end', () => resolve(wrong || (at === bytes ? 'ok' : 'an end with bytes missing')));
    socket.on('close', () => resolve(wrong || error || 'closed without an end'));
  });
}

async function main(options: ExchangeOptions): Promise<void> {
  const ends: Record<string, number> = {};
  const all: Promise<void>[] = [];
  let lastByte = Date.now();
  let longestPause = 0;
  const mayEnd = options.held ? once(process.stdin.resume(), 'end') : Promise.resolve();
  const track = (socket: net.Socket): void => {
    socket.on('data', () => {
      longestPause = Math.max(longestPause, Date.now() - lastByte);
      lastByte = Date.now();
    });
  };
  const finish = async (side: string, sent: Promise<void>, received: Promise<string>): Promise<void> => {
    const outcome = await received;
    await sent;
    const kind = outcome === 'ok' ? 'ok' : `${side}: ${outcome}`;
    ends[kind] = (ends[kind] ?? 0) + 1;
  };
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    // The first two bytes are the number of the session.
    const begin = (): void => {
      const head: Buffer | null = socket.read(2);
      if (head === null) {
        socket.once('readable', begin);
        return;
      }
      const session = head.readUInt16LE(0);
      const first: Buffer = socket.read() ?? Buffer.alloc(0);
      track(socket);
      const received = receive(socket, options, session, 0, first);
      all.push(finish('server', send(socket, options, { session, direction: 1, mayEnd }), received));
    };
    socket.on('error', () => {});
    begin();
  });
  server.listen(options.listen, '127.0.0.1', 4096);
  await once(server, 'listening');
  for (let session = 0; session < options.sessions; session++) {
    const socket = net.connect({ port: options.link, host: '127.0.0.1', allowHalfOpen: true });
    socket.on('error', () => {});
    await once(socket, 'connect');
    const head = Buffer.alloc(2);
    head.writeUInt16LE(session, 0);
    socket.write(head);
    track(socket);
    const received = receive(socket, options, session, 1, Buffer.alloc(0));
    all.push(finish('client', send(socket, options, { session, direction: 0, mayEnd }), received));
  }
  setTimeout(() => process.stdout.write('running\n'), OLD_MS);
  while (all.length < 2 * options.sessions) await new Promise((resolve) => setTimeout(resolve, 50));
  await Promise.all(all);
  const result: ExchangeResult = { ends, longestPause };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exit(0);
}

if (process.argv[2] !== undefined) await main(JSON.parse(process.argv[2]));
