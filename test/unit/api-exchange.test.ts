import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Unreachable } from '../../src/api/connect.ts';
import { type ApiRequest, openConnection } from '../../src/api/exchange.ts';
import { Failure } from '../../src/api/failure.ts';

/* What a daemon can do to a caller, with answers that are no answers. */

const test = suite('answers that are none');
const directory = mkdtempSync(join(tmpdir(), 'wormhole-exchange-'));
const path = join(directory, 'daemon');

test.after(() => rmSync(directory, { recursive: true }));

/** Asks a daemon that behaves so to each request. Returns what came of it, and how many bytes of the answer were taken. */
async function ask(
  behave: (socket: Socket) => void,
  request: Partial<ApiRequest> = {},
): Promise<{ outcome: unknown; taken: number }> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => behave(socket));
  }).listen(path);
  await once(server, 'listening');
  const socket = connect(path);
  socket.on('error', () => {});
  await once(socket, 'connect');
  const { send, close } = openConnection(socket, 'tcp://beta:9999');
  const outcome = await send({ method: 'GET', path: '/v1/links', ...request }).catch((error) => error);
  close();
  server.close();
  await once(server, 'close');
  return { outcome, taken: socket.bytesRead };
}

/** Writes a piece again and again, as fast as it is taken, or every so many ms. */
function endless(socket: Socket, piece: string, pause = 0): void {
  const more = () => {
    if (socket.destroyed) return;
    if (pause > 0) {
      socket.write(piece);
      setTimeout(more, pause);
    } else if (socket.write(piece)) setImmediate(more);
    else socket.once('drain', more);
  };
  more();
}

const json = (body: unknown, status = '200 OK') => {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return `HTTP/1.1 ${status}\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
};

const PROCESSING = 'HTTP/1.1 102 Processing\r\n\r\n';
const ENDLESS = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';

const lies: [string, (socket: Socket) => void, RegExp, Partial<ApiRequest>?][] = [
  [
    'it is at work for ever',
    (socket) => endless(socket, PROCESSING, 1_000),
    /^tcp:\/\/beta:9999 has not finished after 2 s, although it says that it is at work$/,
    { timeout: 2_000 },
  ],
  [
    'it says so all the time',
    (socket) => endless(socket, PROCESSING.repeat(100)),
    /^tcp:\/\/beta:9999 sends only progress reports: this is not wormholed$/,
  ],
  [
    // Node closes the connection then, and tells of neither an answer nor an error.
    'another protocol',
    (socket) => socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'),
    /^tcp:\/\/beta:9999 has gone away before it answered$/,
  ],
  [
    'a body without an end',
    (socket) => {
      socket.write(ENDLESS);
      endless(socket, `1000\r\n${'x'.repeat(0x1000)}\r\n`);
    },
    /gives an answer of more than 65536 bytes: this is not wormholed$/,
  ],
  [
    'a body that is longer than it may be',
    (socket) => socket.write(json(`[${'1,'.repeat(5_000)}1]`)),
    /gives an answer of more than 1000 bytes/,
    { longest: 1_000 },
  ],
  [
    'a body byte by byte',
    (socket) => {
      socket.write(ENDLESS);
      endless(socket, '1\r\nx\r\n', 50);
    },
    /has not finished after 1 s/,
    { timeout: 1_000 },
  ],
  [
    'headers without an end',
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n');
      endless(socket, `x-${'y'.repeat(100)}: z\r\n`);
    },
    /has gone away before it answered \(Parse Error: Header overflow\)$/,
  ],
  [
    'headers byte by byte',
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nx: ');
      endless(socket, 'y', 50);
    },
    /has not finished after 1 s/,
    { timeout: 1_000 },
  ],
  ['half a body', (socket) => socket.end(json('{"a": 1}').slice(0, -2)), /has broken off its answer/],
  ['no JSON', (socket) => socket.write(json('hello')), /gives an answer \(200\) that is not from wormholed$/],
  ['deep JSON', (socket) => socket.write(json('['.repeat(60_000))), /that is not from wormholed$/],
  [
    'an error without a message',
    (socket) => socket.write(json({ error: {} }, '500 -')),
    /\(500\) that is no/,
  ],
  [
    'a redirection',
    (socket) => socket.write(json({ url: 'x' }, '302 Found')),
    /\(302\) that is not from wormholed/,
  ],
];

for (const [what, behave, expected, request] of lies) {
  test(what, async () => {
    const { outcome, taken } = await ask(behave, request);
    assert.ok(outcome instanceof Unreachable || outcome instanceof Failure, String(outcome));
    assert.match(outcome.message, expected);
    assert.ok(taken < 1_000_000, `${taken} bytes were taken`);
  });
}

test('a daemon that says every three seconds that it is at work is waited for', async () => {
  const { outcome } = await ask((socket) => {
    for (const seconds of [0, 3, 6, 9, 12]) setTimeout(() => socket.write(PROCESSING), 1_000 * seconds);
    // Twelve seconds of silence would be too many.
    setTimeout(() => socket.write(json({ done: true })), 13_500);
  });
  assert.equal(outcome, { done: true });
});

test('what would act on a terminal does not get there', async () => {
  const evil = '\u001b[2J\u0007\u009b31m\u202eevil\u2028line\r\nnext\tword\u0000';
  const clean = '\ufffd[2J\ufffd\ufffd31m\ufffdevil\ufffdline\ufffd\ufffdnext\ufffdword\ufffd';
  const { outcome: error } = await ask((socket) =>
    socket.write(json({ error: { code: 'failed', message: evil } }, '500 -')),
  );
  assert.is((error as Failure).message, clean);
  const { outcome: answer } = await ask((socket) => socket.write(json({ list: [{ id: evil }] })));
  assert.equal(answer, { list: [{ id: clean }] });
  const { outcome: text } = await ask((socket) => socket.write(json({ text: evil })), { multiline: true });
  assert.equal(text, { text: clean.replace('\ufffdnext\ufffd', '\nnext\t') });
});

test('an endless message is cut', async () => {
  const { outcome } = await ask((socket) =>
    socket.write(json({ error: { code: 'failed', message: 'x'.repeat(60_000) } }, '500 -')),
  );
  assert.is((outcome as Failure).message, `${'x'.repeat(2_000)}…`);
});

test.run();
