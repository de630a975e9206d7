import * as assert from 'uvu/assert';
import { faultsOfUnits, installedHost, succeeds } from './installed.ts';
import { labSuite } from './suite.ts';

labSuite(
  'units',
  () => installedHost({ name: 'units' }),
  (test, at) => {
    test('systemd-analyze has nothing to say of any of them', async () => {
      const host = at();
      await host.run(
        'docker run -d --network none --name one wormhole/tools && docker run -d --network none --name two.x-y wormhole/tools',
      );
      await host.run('ip netns add "per cent%i"');
      for (const recipe of [
        'idle 1m url :7000 trigger docker-run wormhole/tools child url :7001 trigger docker-ns one',
        'url :3306 docker-ns tail docker-ns one',
        'url :3306 docker-ns one tail docker-ns two.x-y',
        "url '[::]:80' chain url '[::1]:81' tail url ':82'",
        "id spaced url 'per cent%i@:1' tail url 'per cent%i@:2'",
        `url ${host.address}:90 tail url :91`,
      ]) {
        await succeeds(host, `create ${recipe}`);
      }
      const verified = await host.run(
        "systemd-analyze verify --man=yes $(ls -d /etc/systemd/system/wormhole-*.* | grep -v '@[.]') 2>&1",
        { check: false },
      );
      assert.is(verified.stdout, '');
      assert.is(verified.status, 0);
      assert.is(await faultsOfUnits(host, '/etc/systemd/system'), '');
    });

    test('what is read back from the units is what was asked for', async () => {
      const host = at();
      const links = JSON.parse(await succeeds(host, 'list --json'));
      const recipes = Object.fromEntries(links.map(({ id, recipe }: Record<string, string>) => [id, recipe]));
      assert.is(
        recipes['3306-one'],
        'id 3306-one url tcp://127.0.0.1:3306 docker-ns one tail url tcp://127.0.0.1:3306 docker-ns two.x-y',
      );
      assert.match(recipes.spaced, /per cent%i@127\.0\.0\.1:1/);
    });

    test('each file of ours in systemd names the manual, and the manual is there', async () => {
      const host = at();
      const without = await host.run(
        'grep -L "^Documentation=man:wormhole(1)" /etc/systemd/system/wormhole-*.*',
        { check: false },
      );
      assert.is(without.stdout, '');
      assert.match((await host.run('man -P cat wormhole')).stdout, /THE RECIPE/);
    });

    test('it runs as nobody in particular, in the namespace of the tail, with no capability', async () => {
      const host = at();
      await host.run(
        'nc -N 127.0.0.1 3306 </dev/null & until systemctl is-active -q wormhole-3306.service; do sleep 0.1; done',
        { check: false },
      );
      const pid = (await host.run('systemctl show -P MainPID wormhole-3306.service')).stdout.trim();
      const status = (await host.run(`cat /proc/${pid}/status`)).stdout;
      assert.match(status, /^Uid:\s+6[0-9]{4}\s/m);
      assert.match(status, /^CapEff:\s+0{16}$/m);
      assert.match(status, /^CapBnd:\s+0{16}$/m);
      assert.match(status, /^NoNewPrivs:\s+1$/m);
      const container = await host.container('one').inspect('{{.State.Pid}}');
      const [own, its] = (
        await host.run(`readlink /proc/${pid}/ns/net /proc/${container}/ns/net`)
      ).stdout.split('\n');
      assert.is(own, its);
    });

    test('a link needs a daemon-reload only when its id was in use before', async () => {
      const host = at();
      const reloads = async () =>
        Number((await host.run('journalctl -b -o cat _PID=1 | grep -c "^Reloading" || true')).stdout);
      const before = await reloads();
      await succeeds(host, 'create id fresh url :5100 tail url :5101');
      assert.is(await reloads(), before);
      await succeeds(host, 'delete fresh');
      await succeeds(host, 'create id fresh url :5102 tail url :5103');
      assert.match(
        (await host.run('systemctl show -P Listen wormhole-fresh.socket')).stdout,
        /127.0.0.1:5102/,
      );
      assert.is(
        (
          await host.run('systemctl show -P NeedDaemonReload wormhole-fresh.socket wormhole-fresh.service')
        ).stdout
          .replace(/\n+/g, ' ')
          .trim(),
        'no no',
      );
    });

    test('the dependencies draw the recipe', async () => {
      const host = at();
      const tree = async (unit: string) =>
        (await host.run(`systemctl list-dependencies --plain ${unit}`)).stdout;
      const forwarder = await tree('wormhole-3306-one.service');
      assert.match(forwarder, /wormhole-3306-one\.socket/);
      assert.match(forwarder, /wormhole-netns@two\.x-y\.service/);
      assert.match(await tree('wormhole-3306-one.socket'), /wormhole-netns@one\.service/);
    });

    test('no ordering cycle at boot, and every head listens', async () => {
      const host = at();
      await host.run('docker update --restart always one two.x-y');
      await host.reboot();
      assert.not.match(await host.journal('-b'), /ordering cycle/i);
      await host.waitFor(
        async () =>
          (
            await host.run(
              'systemctl is-active wormhole-3306.socket wormhole-3306-one.socket wormhole-80.socket',
              { check: false },
            )
          ).stdout === 'active\nactive\nactive\n',
        { timeout: 20, what: 'the sockets to listen' },
      );
    });
  },
);
