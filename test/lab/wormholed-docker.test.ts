import * as assert from 'uvu/assert';
import { writeKey } from './cluster.ts';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

labSuite<{ asking: Host; asked: Host }>(
  'wormholed and Docker',
  async () => {
    const asking = await installedHost({ name: 'asking', docker: false });
    const asked = await installedHost({ name: 'asked' });
    await writeKey(asked, (await asking.run('cat /etc/wormhole/key.secret')).stdout);
    await asked.run('docker run -d --name db --network none wormhole/mysql');
    await asked.run('docker run -d --name app --network none wormhole/tools');
    await asked.run('ip netns add blue && ip -n blue link set lo up');
    return { asking, asked };
  },
  (test, at) => {
    const query = "mysql -u root -h 127.0.0.1 -N -e 'select 41 + 1'";

    test('containers of the asked host: a link between two, and one with a port chosen inside', async () => {
      const { asking, asked } = at();
      const there = '-H tcp://asked';
      assert.is(
        await succeeds(asking, `${there} create url :3306 docker-ns app tail docker-ns db`),
        '3306-app tcp://127.0.0.1:3306',
      );
      const answer = () => asked.container('app').runInNetwork(query);
      assert.is((await asked.waitFor(answer, { what: 'the database' })).stdout, '42\n');
      const made = await succeeds(asking, `${there} create docker-ns app tail url :3306 docker-ns db`);
      assert.match(made, /^6\d{4}-app tcp:\/\/127\.0\.0\.1:6\d{4}$/);
      await succeeds(asking, `${there} create id b url blue@:3306 tail docker-ns db`);
      assert.is((await asked.run(`ip netns exec blue ${query}`)).stdout, '42\n');
      for (const id of ['3306-app', made.split(' ')[0], 'b']) await succeeds(asking, `${there} delete ${id}`);
      await leavesNothing(asked);
    });

    test('docker-run on the asked host, at the first connection and at once', async () => {
      const { asking, asked } = at();
      const there = '-H tcp://asked';
      for (const when of ['trigger', 'tail']) {
        await succeeds(asking, `${there} create id run url :3306 ${when} docker-run wormhole/mysql`);
        assert.is((await asked.run(query)).stdout, '42\n');
        await succeeds(asking, `${there} delete run`);
        await leavesNothing(asked);
      }
      const { stderr } = await asking.run(`wormhole ${there} create url :80 tail docker-run no/such:image`, {
        check: false,
      });
      assert.match(stderr, /^wormhole: .*no\/such:image.*\n$/);
      await leavesNothing(asked);
    });
  },
);
