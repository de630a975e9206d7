import { request } from 'node:http';
import { join } from 'node:path';
import type { Command } from 'commander';
import { fail, UsageError } from './fail.js';
import { machinesOf } from './machine.js';

const SOCKET = 'wormholed-web.socket';
const SOCKET_PATH = '/run/wormholed-web.sock';

const HELP = `
The address works once, for two minutes; the browser that uses it has access for twelve hours. On a desktop the browser is opened; --open
requires that. The page changes nothing, neither starts a link nor keeps it awake, and is served at 127.0.0.1 only:
ssh -L 9997:127.0.0.1:9997 root@HOST wormhole web shows that of another machine. A minute after the page was last visible, nothing
runs any more; systemctl stop ${SOCKET} closes the port.`;

export function addWeb(program: Command): void {
  program
    .command('web')
    .description('print the address of a page with a live map of this machine, and open it on a desktop')
    .option('--open', 'open it in the browser of the user who called sudo, or fail')
    .option('--no-open', 'only print the address')
    .addHelpText('after', HELP)
    .action(async ({ open }: { open?: boolean }, command: Command) => {
      if ((await machinesOf(command)).length > 0)
        throw new UsageError('-H: the page shows this machine; for another one, see wormhole web --help');
      const { requireRoot } = await import('./fail.js');
      requireRoot('web');
      const url = await newUrl();
      const { isDesktop, openInBrowser } = await import('./browser.js');
      if (open ?? isDesktop(process.env)) await openInBrowser(url, process.env);
      process.stdout.write(`${url}\n`);
    });
  program
    .command('web-serve', { hidden: true })
    .description('serve the page on the sockets that systemd passes, until nobody looks')
    .option('--idle <seconds>', 'end after this long without a page that asks', '60')
    .action(async ({ idle }: { idle: string }) => {
      const { passedSockets } = await import('../systemd/listen-fds.js');
      const { serveWeb } = await import('../web/server.js');
      await serveWeb(passedSockets(process.env, process.pid), {
        state: process.env.RUNTIME_DIRECTORY ?? '',
        page: join(import.meta.dirname, 'web'),
        idle: Number(idle) * 1000,
      }).catch(fail);
      // wormholed may still be asked, and sockets be open.
      process.exit();
    });
}

/** An address that opens the page once. The socket is started if need be. @throws Error */
async function newUrl(): Promise<string> {
  const { withSystemd } = await import('../systemd/systemd.js');
  await withSystemd((systemd) => systemd.start(SOCKET));
  const answer = await new Promise<string>((resolve, reject) => {
    const asked = request({ socketPath: SOCKET_PATH, path: '/token', method: 'POST', timeout: 10_000 });
    asked.on('timeout', () => asked.destroy(new Error('it does not answer within 10 s')));
    asked.on('error', ({ message }) => {
      reject(new Error(`the page is not served: ${message}: see journalctl -u wormholed-web`));
    });
    asked.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve(text));
    });
    asked.end();
  });
  const url = /^\{"url":"(http:[^"\\]+)"\}$/.exec(answer)?.[1];
  if (url !== undefined) return url;
  throw new Error(
    'the page is not served: it is of another version: systemctl restart wormholed-web.service',
  );
}
