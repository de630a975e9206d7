// What hostile callers of wormholed do: half-open connections of strangers, and what one who has the key can do by going
// slowly, or on and on. Prints "open" when all of it is under way, and at its end, as JSON, what came of it.
//
//   node --import tsx test/lab/attack.ts HOST KEY-FILE
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { readKeys } from '../../src/api/key.ts';
import { createProof } from '../../src/api/proof.ts';
import { clientTls } from '../../src/api/tls.ts';
import { createIdentity } from '../../src/state/identity.ts';

/** What came of the attack: times in seconds until the connection was ended. */
export interface Outcome {
  halfOpen: number;
  halfOpenLeft: number;
  trickledHeaders: number;
  trickledBody: number;
  silentAfterTls: number;
  /** The status that a body of a declared gigabyte got. */
  declared: number;
  /** Megabytes of a body without an end that could be sent. */
  endless: number;
}

const [host = '', keyFile = ''] = process.argv.slice(2);
const POST = 'POST /v1/links HTTP/1.1\r\nhost: a\r\n';

/** A connection of one who has the key. */
function open(): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const settings = { ...clientTls(readKeys(keyFile)[0]), host, port: 9999 };
    const socket = connectTls(settings, () => resolve(socket)).on('error', reject);
  });
}

/** A connection of one who has the key and has proved to be some machine. */
async function openSession(): Promise<TLSSocket> {
  const socket = await open();
  const body = JSON.stringify(createProof(createIdentity(), socket, 'client'));
  socket.write(`PUT /v1/session HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  await once(socket, 'data');
  return socket;
}

/** Seconds until the other side ends a connection. */
async function lasted(socket: TLSSocket): Promise<number> {
  const began = performance.now();
  await new Promise((resolve) =>
    socket
      .on('error', () => {})
      .resume()
      .on('close', resolve),
  );
  return (performance.now() - began) / 1000;
}

async function trickle(head: string, drop: string): Promise<number> {
  const socket = await openSession();
  socket.write(head);
  const timer = setInterval(() => socket.write(drop), 300);
  const seconds = await lasted(socket);
  clearInterval(timer);
  return seconds;
}

async function declare(): Promise<number> {
  const socket = await openSession();
  let answer = '';
  socket.on('data', (chunk) => {
    answer += chunk;
  });
  socket.write(`${POST}content-length: 1000000000\r\n\r\n${'x'.repeat(1000)}`);
  await lasted(socket);
  return Number(answer.split(' ')[1]);
}

async function sendForEver(): Promise<number> {
  const socket = await openSession();
  socket.write(`${POST}transfer-encoding: chunked\r\n\r\n`);
  const piece = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
  let sent = 0;
  const more = () => {
    let hasRoom = true;
    while (!socket.destroyed && hasRoom) {
      hasRoom = socket.write(piece);
      sent += 0x10000;
    }
  };
  socket.on('drain', more);
  more();
  await lasted(socket);
  return sent / 1e6;
}

const half = [];
for (let n = 0; n < 1000; n++) {
  const socket = connect(9999, host).on('error', () => {});
  // Every other one begins a handshake.
  if (n % 2) socket.write(Buffer.from('1603010200010001fc0303', 'hex'));
  half.push(socket);
  await sleep(1);
}
const all = Promise.all([
  trickle('GET /v1/ping HTTP/1.1\r\n', 'x: y\r\n'),
  trickle(`${POST}content-length: 60000\r\n\r\n`, 'x'),
  open().then(lasted),
  declare(),
  sendForEver(),
]);
console.log('open');
const [trickledHeaders, trickledBody, silentAfterTls, declared, endless] = await all;
const halfOpenLeft = half.filter(({ closed }) => !closed).length;
const times = { trickledHeaders, trickledBody, silentAfterTls };
const outcome: Outcome = { halfOpen: half.length, halfOpenLeft, ...times, declared, endless };
console.log(JSON.stringify(outcome));
process.exit();
