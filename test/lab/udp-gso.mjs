// Sends datagrams that the kernel joins (UDP_SEGMENT, udp(7)) to a port of 127.0.0.1, and expects each of them back:
// node udp-gso.mjs PORT SIZE COUNT
import dgram from 'node:dgram';
import koffi from 'koffi';

const [port, size, count] = process.argv.slice(2).map(Number);
const socket = dgram.createSocket('udp4');
await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));
const state = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'state symbol');
const setsockopt = koffi.load(null).func('int setsockopt(int, int, int, void *, uint)');
const value = Buffer.alloc(4);
value.writeUInt32LE(size);
if (setsockopt(socket[state].handle.fd, 17, 103, value, 4) !== 0) throw new Error('UDP_SEGMENT is refused');
const missing = new Set(Array.from({ length: count }, (_, n) => n));
const done = new Promise((resolve, reject) => {
  setTimeout(() => reject(new Error(`no answer to ${missing.size} of ${count}`)), 60_000).unref();
  socket.on('message', (message) => {
    if (message.length !== size) reject(new Error(`${message.length} bytes`));
    missing.delete(message[0]);
    if (missing.size === 0) resolve();
  });
});
const message = Buffer.alloc(size * count);
for (let n = 0; n < count; n++) message.fill(n, n * size, (n + 1) * size);
socket.send(message, port, '127.0.0.1');
await done;
socket.close();
console.log(`${count} answers`);
