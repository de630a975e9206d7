import * as assert from 'uvu/assert';
import type { ExchangeOptions, ExchangeResult } from './exchange.ts';
import { installedHost, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import type { Running } from './rig/shell.ts';
import { labSuite } from './suite.ts';

/** Starts sessions through the link and waits until they are old enough to survive. */
async function startExchange(host: Host, options: ExchangeOptions): Promise<Running> {
  const exchange = host.spawn(
    `cd /src/wormhole && exec node --import tsx test/lab/exchange.ts '${JSON.stringify(options)}'`,
  );
  await host.waitFor(() => exchange.stdout().includes('running'), {
    timeout: 60,
    what: 'the sessions to run',
  });
  return exchange;
}

/** Waits until all sessions have ended, and checks that each has had all its bytes. */
async function allArrive(exchange: Running, { sessions }: ExchangeOptions): Promise<ExchangeResult> {
  const { stdout, stderr } = await exchange.exited;
  assert.is(stderr, '');
  const result: ExchangeResult = JSON.parse(stdout.trim().split('\n').at(-1) as string);
  assert.equal(result.ends, { ok: 2 * sessions });
  return result;
}

labSuite(
  'sessions outlive the forwarder',
  () => installedHost({ name: 'survival', docker: false }),
  (test, at) => {
    test('restarted and killed in the middle of 40 MB both ways, it goes on, byte for byte', async () => {
      const host = at();
      await succeeds(host, 'create url :3000 tail url :4000');
      const options = { listen: 4000, link: 3000, sessions: 2, seed: 1, seconds: 6, bytes: 40e6 };
      const exchange = await startExchange(host, options);
      await host.run('systemctl restart wormhole-3000.service');
      await host.run('sleep 1; systemctl kill -s KILL wormhole-3000.service');
      await host.run('sleep 1; systemctl restart wormhole-3000.service');
      await host.run('sleep 0.5; systemctl kill -s KILL wormhole-3000.service');
      await allArrive(exchange, options);
      const journal = await host.journal('-o', 'cat', '-u', 'wormhole-3000.service');
      assert.is(journal.match(/took over 2 open sessions/g)?.length, 4, journal);
    });
  },
);
