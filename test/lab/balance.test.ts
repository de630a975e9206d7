import * as assert from 'uvu/assert';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import { hears } from './pair.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/** A server in a container without a network, which says the name of that. */
const server = (name: string): string =>
  `docker run -d --network none --name ${name} --hostname ${name} wormhole/tools socat TCP-LISTEN:80,fork,reuseaddr SYSTEM:"uname -n"`;

labSuite(
  'links with several tails',
  () => installedHost({ name: 'balance' }),
  (test, at) => {
    test('clients go to containers and to an address, each with its own forwarder', async () => {
      const host = at();
      for (const name of ['web1', 'web2']) await host.run(server(name));
      await host.run(
        "systemd-run --unit plain socat TCP-LISTEN:8080,bind=127.0.0.1,reuseaddr,fork EXEC:'echo plain'",
      );
      await succeeds(host, 'create url :80 tail docker-ns web1 or docker-ns web2 or url 127.0.0.1:8080');
      assert.equal(await answers(host, 80, 9), { web1: 3, web2: 3, plain: 3 });
      const rows = await succeeds(host, 'list');
      assert.match(rows, /^80 +tcp:\/\/127\.0\.0\.1:80 +3 tails +connected/m);
      assert.match(
        rows,
        /^80-to-web1 +tail of 80 +tcp:\/\/127\.0\.0\.1:80 in container web1 +connected 0 open, 3 served/m,
      );
      assert.match(rows, /^80-to-127\.0\.0\.1-8080 +tail of 80 +tcp:\/\/127\.0\.0\.1:8080 /m);
    });

    test('only root reaches the sockets of the tails', async () => {
      const host = at();
      const { status } = await host.run(
        'setpriv --reuid=65534 --regid=65534 --clear-groups test -e /run/wormhole/hand-off/80/80-to-web1',
        { check: false },
      );
      assert.is(status, 1);
      assert.is((await host.run('stat -c %a /run/wormhole/hand-off')).stdout.trim(), '700');
    });

    test('deleting leaves nothing', async () => {
      const host = at();
      await succeeds(host, 'delete 80');
      await leavesNothing(host);
      assert.is((await host.run('ls /run/wormhole/hand-off')).stdout, '');
    });
  },
);

/** How often each server answers, of that many clients one after the other. */
async function answers(host: Host, port: number, count: number): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (let n = 0; n < count; n++) {
    const name = (await hears(host, port)).trim() || 'nobody';
    found[name] = (found[name] ?? 0) + 1;
  }
  return found;
}
