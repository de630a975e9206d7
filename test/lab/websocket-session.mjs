import { once } from 'node:events';
import { createServer } from 'node:http';
import { WebSocket, WebSocketServer } from 'ws';

/*
 * Runs on a host: a WebSocket through a link, both ends of it.
 *
 *     node websocket-session.mjs LISTEN LINK SECONDS
 *
 * For so many seconds, client and server send each other numbered frames of many sizes, as text and binary, and pings. The frames are
 * compressed with one context for the whole session (permessage-deflate, RFC 7692), so one byte that is lost or comes twice spoils all that
 * follow. Prints "running" when the session is old enough to survive, and in the end the frames that each side has got in order.
 */

const [listen, link, seconds] = process.argv.slice(2).map(Number);

/** A session is old enough to survive after this time, ms. */
const OLD_MS = 1500;

/** The sizes of frames: without a length field of its own, with one of 16 bits, and with one of 64 bits. */
const SIZES = [0, 1, 125, 126, 4000, 65_535, 65_536, 200_000];

/** Frame `n`: a text of digits, or bytes that depend on the number. */
function frameOf(n) {
  const size = SIZES[n % SIZES.length] ?? 0;
  if (n % 3 === 0) return `${n}:${'0123456789'.repeat(Math.ceil(size / 10)).slice(0, size)}`;
  const bytes = Buffer.alloc(4 + size, n % 251);
  bytes.writeUInt32LE(n);
  for (let at = 4; at < bytes.length; at += 97) bytes[at] = (at * n) & 0xff;
  return bytes;
}

/** Throws unless what has arrived is frame `n`. */
function checkFrame(n, data, isBinary) {
  const expected = frameOf(n);
  const isText = typeof expected === 'string';
  if (isBinary === isText || !Buffer.from(expected).equals(data))
    throw new Error(`frame ${n} has not arrived as it was sent`);
}

/** Sends frames for some seconds and counts those that arrive. Resolves when the other side has sent its last one. */
function converse(socket) {
  return new Promise((resolve, reject) => {
    const end = Date.now() + 1000 * seconds;
    let [sent, received, pongs] = [0, 0, 0];
    const sending = setInterval(() => {
      if (Date.now() < end) {
        for (let i = 0; i < 3; i++) socket.send(frameOf(sent++));
        if (sent % 10 === 0) socket.ping(String(sent));
        return;
      }
      clearInterval(sending);
      socket.send(`last ${sent}`);
    }, 50);
    const fail = (error) => {
      clearInterval(sending);
      reject(error);
    };
    socket.on('pong', () => pongs++);
    socket.on('error', fail);
    socket.on('close', (code) => fail(new Error(`closed with code ${code} after ${received} frames`)));
    socket.on('message', (data, isBinary) => {
      try {
        if (!isBinary && String(data).startsWith('last ')) {
          if (String(data) !== `last ${received}`) throw new Error(`${received} frames, and then "${data}"`);
          socket.removeAllListeners('close');
          resolve({ received, pongs });
          return;
        }
        checkFrame(received, data, isBinary);
        received++;
      } catch (error) {
        fail(error);
      }
    });
  });
}

const perMessageDeflate = { serverNoContextTakeover: false, clientNoContextTakeover: false, threshold: 0 };
const http = createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate });
http.listen(listen, '127.0.0.1');
await once(http, 'listening');
const accepted = once(server, 'connection').then(([socket]) => converse(socket));
const client = new WebSocket(`ws://127.0.0.1:${link}/`, { perMessageDeflate });
await once(client, 'open');
setTimeout(() => console.log('running'), OLD_MS);
const [atClient, atServer] = await Promise.all([converse(client), accepted]);
const closed = once(client, 'close');
client.close(1000);
const [code] = await closed;
console.log(JSON.stringify({ atClient, atServer, code, isCompressed: client.extensions }));
http.close();
