// A relay as one writes it with Node's own streams: node node-relay.mjs PORT TARGET-PORT
import net from 'node:net';

const [port, target] = process.argv.slice(2).map(Number);
const options = { allowHalfOpen: true, noDelay: true };
net
  .createServer(options, (client) => {
    const server = net.connect({ ...options, port: target, host: '127.0.0.1' });
    for (const [from, to] of [
      [client, server],
      [server, client],
    ]) {
      from.on('error', () => to.destroy());
      from.pipe(to);
    }
  })
  .listen({ port, host: '127.0.0.1', backlog: 4096 });
