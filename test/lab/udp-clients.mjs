// UDP clients with questions of their own: node udp-clients.mjs PORT COUNT AT-ONCE [ADDRESS]
//
// Each sends a number to PORT of ADDRESS and waits for the same number, for 10 s. Prints how many got their own answer, and how
// many another one.
import dgram from 'node:dgram';

const [port, count, atOnce, address = '127.0.0.1'] = process.argv.slice(2);
let next = 0;
let right = 0;
let wrong = 0;

function ask(number) {
  return new Promise((resolve) => {
    const socket = dgram.createSocket('udp4');
    const end = () => {
      clearTimeout(timer);
      socket.close();
      resolve();
    };
    const timer = setTimeout(end, 10_000);
    socket.on('message', (message, from) => {
      if (String(message) === `question ${number}` && from.address === address) right++;
      else wrong++;
      end();
    });
    socket.on('error', end);
    socket.send(`question ${number}`, Number(port), address);
  });
}

async function lane() {
  while (next < Number(count)) await ask(next++);
}

await Promise.all(Array.from({ length: Number(atOnce) }, lane));
console.log(`${right} right, ${wrong} wrong`);
