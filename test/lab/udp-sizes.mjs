// Sends datagrams of the given sizes to a port of 127.0.0.1, and expects each of them back: node udp-sizes.mjs PORT SIZE…
import dgram from 'node:dgram';

const [port, ...sizes] = process.argv.slice(2).map(Number);
const socket = dgram.createSocket('udp4');
for (const size of sizes) {
  const sent = Buffer.alloc(size, `x${size}`);
  const answer = new Promise((resolve, reject) => {
    socket.once('message', resolve);
    setTimeout(() => reject(new Error(`no answer to ${size} bytes`)), 30_000).unref();
  });
  socket.send(sent, port, '127.0.0.1');
  const got = await answer;
  if (!got.equals(sent)) throw new Error(`sent ${size} bytes, got ${got.length}`);
}
socket.close();
