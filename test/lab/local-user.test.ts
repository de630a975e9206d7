import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/** Runs a command as a user with an account and nothing else. */
const asUser = (host: Host, command: string) =>
  host.run(['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', 'bash', '-c', command], {
    check: false,
    timeout: 120,
  });

/** Control characters, other than line breaks. */
const CONTROL = /(?!\n)\p{Cc}/u;

labSuite(
  'a local user, and the author of a container',
  () => installedHost({ name: 'shared' }),
  (test, at) => {
    test('a user reads what list shows, and changes nothing', async () => {
      const host = at();
      await succeeds(host, 'create id a url :7001 tail url :7000');
      assert.match((await asUser(host, 'wormhole list')).stdout, /^a +tcp:\/\/127\.0\.0\.1:7001/m);
      for (const command of [
        'create url :7002 tail url :7000',
        'delete a',
        'delete --all',
        'stop a',
        'sleep a',
        'run a-run',
      ]) {
        const { stderr } = await asUser(host, `wormhole ${command}`);
        assert.match(stderr, /^wormhole: this needs root: /m, `${command}: ${stderr}`);
      }
      for (const command of [
        'systemctl stop wormhole-a.socket',
        'systemctl kill wormhole-a.service',
        'curl -sS --unix-socket /run/wormhole.sock http://localhost/v1/links',
        'cat /etc/wormhole/key.secret',
        'docker ps',
      ])
        assert.is.not((await asUser(host, command)).status, 0, command);
      assert.match(await succeeds(host, 'list'), /^a .* listening/m);
    });

    test('no file or directory of ours is writable to a user, or can be locked by one', async () => {
      const host = at();
      await host.run('nc -N 127.0.0.1 7001 </dev/null', { check: false });
      const ours =
        '/etc/wormhole /etc/systemd/system /run/wormhole /run/wormhole.sock /var/lib/wormhole /usr/local/lib/wormhole /usr/local/bin';
      const writable = await asUser(host, `find ${ours} ! -type l -writable 2>/dev/null`);
      assert.is(writable.stdout, '');
      // A lock needs no more than an open file: one who could read it could keep every command from its work.
      assert.match((await host.run('ls /run/wormhole')).stdout, /^links\.lock$/m);
      assert.is(
        (await asUser(host, 'for lock in /run/wormhole/*.lock; do cat $lock && echo $lock; done')).stdout,
        '',
      );
    });

    test('a file of variables that its owner has made a trap of fails its link, and no other', async () => {
      const host = at();
      await host.run('mkdir -p /srv/app; chown nobody /srv/app');
      const create =
        "create id t url :7011 trigger url :7010 docker-run '--env-file /srv/app/env wormhole/tools sleep 9'";
      await succeeds(host, create);
      for (const [trap, reason] of [
        ['mkfifo /srv/app/env', /it is not a regular file/],
        ['ln -s /dev/zero /srv/app/env', /it is not a regular file/],
        ['truncate -s 1T /srv/app/env', /it is larger than 2 MiB/],
        ['ln -s /etc/shadow /srv/app/env', /env", line 1: write NAME=VALUE/],
      ] as const) {
        await asUser(host, `rm -f /srv/app/env; ${trap}`);
        await host.run('systemctl stop wormhole-t.service; systemctl restart wormhole-t.socket');
        await host.run('rm -rf /run/wormhole/links/*/given-up');
        await host.run('timeout 100 nc 127.0.0.1 7011 </dev/null', { check: false, timeout: 120 });
        const said = await host.journal('-b', '-o', 'cat', '-t', 'wormhole-t-run', '-n', '20');
        assert.match(said, reason, trap);
        assert.not.match(said, /root:/);
      }
      assert.is((await host.run('docker ps -q --filter name=^wormhole-t$')).stdout, '');
      assert.match(await succeeds(host, 'list'), /^a /m);
      await succeeds(host, 'delete t');
    });

    test('what the author of an image has chosen acts on no terminal and in no journal', async () => {
      const host = at();
      const controls = '\\u001b[2J\\u0007evil\\u009b';
      await host.run(['tee', '/root/Dockerfile'], {
        input: [
          'FROM wormhole/tools',
          `LABEL wormhole.link=a wormhole.run=a-run wormhole.role=netns large=${'x'.repeat(60_000)}`,
          `ENV EVIL="${JSON.parse(`"${controls}"`)}" NODE_OPTIONS=--require=/evil.js LD_PRELOAD=/evil.so`,
          `VOLUME ["/data ${controls}"]`,
          `HEALTHCHECK --interval=1s --retries=1 CMD ["printf", "${controls}"]`,
          `CMD ["sh", "-c", "printf '\\\\033[2J\\\\007evil\\\\033]0;evil\\\\007\\\\n'; head -c 300000 /dev/zero | tr '\\\\0' x; exit 3"]`,
          '',
        ].join('\n'),
      });
      await host.run('docker build -q -t evil - </root/Dockerfile', { timeout: 60 });
      await succeeds(host, 'create id e url :7021 trigger url :7020 docker-run evil');
      await host.run('timeout 100 nc 127.0.0.1 7021 </dev/null', { check: false, timeout: 120 });
      const said = await host.journal('-b', '-a', '-o', 'cat', '-t', 'wormhole-e-run', '-t', 'wormhole-e');
      assert.match(said, /exit(ed|s)? .*3|status 3/);
      assert.not.match(said, CONTROL);
      assert.ok(
        said.split('\n').every((line) => line.length < 8000),
        'a line of the journal is no larger than one can read',
      );
      const list = await succeeds(host, 'list');
      assert.match(list, /^e .*failed/m);
      assert.not.match(list, CONTROL);
      const deleted = await wormhole(host, 'delete --volumes e');
      assert.is(deleted.status, 0);
      assert.not.match(deleted.stdout + deleted.stderr, CONTROL);
      assert.is((await host.run('docker volume ls -q')).stdout, '');
    });

    test('a program that is not there, named by the author of an image', async () => {
      const host = at();
      await host.run(
        `printf 'FROM wormhole/tools\\nCMD ["\\\\u001b[2Jevil"]\\n' | docker build -q -t absent -`,
        {
          timeout: 60,
        },
      );
      await fails(host, 'create id x url :7031 tail url :7030 docker-run absent', /evil/, 1);
      const { stderr } = await wormhole(host, 'create id x url :7031 tail url :7030 docker-run absent');
      assert.is(stderr.split('\n').length, 2, 'one line');
      assert.not.match(stderr, CONTROL);
    });

    test('nothing is left', async () => {
      const host = at();
      await succeeds(host, 'delete a');
      await leavesNothing(host);
    });
  },
);
