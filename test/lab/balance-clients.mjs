import { renameSync, writeFileSync } from 'node:fs';
import net from 'node:net';

/*
 * 64 clients without pause of a port of 127.0.0.1: node balance-clients.mjs PORT FILE. The file has, ten times a second, how many
 * answers each server has given, how many clients were not even connected or ended without an answer, and how often it was written.
 */

const [, , port, file] = process.argv;
const served = { answers: {}, total: 0, failed: 0, refused: 0, written: 0 };

function ask() {
  let text = '';
  let isRefused = false;
  const socket = net.connect(Number(port), '127.0.0.1', () => socket.write('hello\n'));
  socket.on('data', (data) => {
    text += data;
  });
  // 'close' follows an error. ECONNRESET without 'connect' is the end of a connection that this process had not heard of yet.
  socket.on('error', ({ code }) => {
    isRefused = code === 'ECONNREFUSED' || code === 'ETIMEDOUT';
  });
  socket.on('close', () => {
    const name = text.trim();
    if (name !== '') {
      served.answers[name] = (served.answers[name] ?? 0) + 1;
      served.total += 1;
    } else if (isRefused) served.refused += 1;
    else served.failed += 1;
    setImmediate(ask);
  });
}

for (let n = 0; n < 64; n++) ask();
setInterval(() => {
  served.written += 1;
  writeFileSync(`${file}.new`, JSON.stringify(served));
  renameSync(`${file}.new`, file);
}, 100);
