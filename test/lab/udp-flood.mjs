// Datagrams from very many clients that wait for no answer: node udp-flood.mjs PORT COUNT
//
// Each has a source address and port of its own, of 127.0.0.0/8, as a sender of forged addresses would.
import dgram from 'node:dgram';

const [port, count] = process.argv.slice(2).map(Number);
for (let sent = 0; sent < count; ) {
  const batch = Array.from({ length: Math.min(100, count - sent) }, (_, n) => {
    const number = sent + n;
    const socket = dgram.createSocket('udp4');
    return new Promise((resolve) => {
      socket.on('error', () => {});
      socket.bind(0, `127.1.${(number >> 8) & 255}.${number & 255}`, () =>
        socket.send('forged', port, '127.0.0.1', () => socket.close(resolve)),
      );
    });
  });
  await Promise.all(batch);
  sent += batch.length;
}
console.log('done');
