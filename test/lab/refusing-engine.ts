import type { Host } from './rig/host.ts';

/** Which requests to the engine fail: of a method, to addresses that match, all of them or the one of that number. */
export interface Refusal {
  method: string;
  url: RegExp;
  which: number | 'all';
}

/** Passes requests on to the Docker engine, except for those that it answers with an error of its own. */
const PROGRAM = `
const { createServer, request } = require('node:http');
const [, socket, method, url, which] = process.argv;
let count = 0;
createServer((asked, answer) => {
  const isMeant = asked.method === method && new RegExp(url).test(asked.url);
  if (isMeant && (++count === Number(which) || which === 'all')) {
    answer.writeHead(500, { 'content-type': 'application/json' });
    answer.end('{"message":"the test refuses this"}');
    return;
  }
  const { headers } = asked;
  const passed = request({ socketPath: '/run/docker.sock', method: asked.method, path: asked.url, headers }, (said) => {
    answer.writeHead(said.statusCode, said.headers);
    said.pipe(answer);
  });
  passed.on('error', () => answer.destroy());
  asked.pipe(passed);
}).listen(socket);
`;

/**
 * Runs `use` beside a relay to the Docker engine of a host that refuses some requests.
 *
 * @param use gets what is to be put before the command `wormhole`
 */
export async function withRefusingEngine(
  host: Host,
  { method, url, which }: Refusal,
  use: (environment: string) => Promise<void>,
): Promise<void> {
  const socket = '/run/refusing-engine.sock';
  await host.run([
    ...['systemd-run', '--unit', 'refusing-engine', '/usr/local/bin/node', '-e', PROGRAM],
    ...[socket, method, url.source, String(which)],
  ]);
  try {
    await host.waitFor(async () => (await host.run(`test -S ${socket}`, { check: false })).status === 0, {
      what: 'the relay to listen',
    });
    await use(`DOCKER_HOST=unix://${socket}`);
  } finally {
    await host.run(`systemctl stop refusing-engine; rm -f ${socket}`, { check: false });
  }
}
