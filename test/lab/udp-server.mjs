// A UDP server that answers each datagram with itself: node udp-server.mjs PORT [ADDRESS]
import dgram from 'node:dgram';

const [port, address = '127.0.0.1'] = process.argv.slice(2);
const server = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4');
server.on('message', (message, { port: to, address: at }) => server.send(message, to, at));
server.bind(Number(port), address);
