import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

const SECRET = 'Sw0rdf1sh';

/** Runs a command as a user who may do nothing in particular. */
const asNobody = (host: Host, command: string) =>
  host.run(['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', 'bash', '-c', command], {
    check: false,
    timeout: 120,
  });

/** Where that user finds the secret. */
async function foundByNobody(host: Host): Promise<string[]> {
  // grep must not find itself: the pattern is not the text.
  const pattern = `${SECRET.slice(0, -1)}[${SECRET.slice(-1)}]`;
  const { stdout } = await asNobody(
    host,
    `grep -rlsI '${pattern}' /etc /run /tmp /var /home /root /srv /dev/shm
    grep -ls '${pattern}' /proc/[0-9]*/cmdline /proc/[0-9]*/environ
    wormhole list --json | grep -l '${pattern}'
    journalctl -b --no-pager | grep -l '${pattern}'
    for unit in $(systemctl list-units --all --plain --no-legend 'wormhole*' | cut -d' ' -f1); do
      systemctl show "$unit" | grep -q '${pattern}' && echo "show $unit"
      systemctl status --no-pager "$unit" | grep -q '${pattern}' && echo "status $unit"
    done`,
  );
  return stdout.trim().split('\n').filter(Boolean);
}

/** Lines of the journal with the secret, in the eyes of root. What the shell of a test says is not among them. */
async function inJournal(host: Host): Promise<string> {
  await host.run('journalctl --sync');
  const { stdout } = await host.run(
    `journalctl -b -o cat --no-pager -u 'wormhole*' -t wormhole | grep ${SECRET}`,
    {
      check: false,
    },
  );
  return stdout;
}

labSuite(
  'secrets',
  () => installedHost({ name: 'vault' }),
  (test, at) => {
    test('what --env-file holds reaches only its container', async () => {
      const host = at();
      await host.run(`umask 077; mkdir -p /srv/app; echo PASSWORD=${SECRET} >/srv/app/env`);
      await host.run(['tee', '/root/create.sh'], {
        input: `wormhole create id a url :7001 idle 1s trigger url :7000 docker-run "--env-file /srv/app/env wormhole/tools socat TCP-LISTEN:7000,fork,reuseaddr SYSTEM:'echo \\$PASSWORD'"\n`,
      });
      await host.run('sh /root/create.sh');
      const session = host.spawn('exec nc 127.0.0.1 7001');
      await host.waitFor(() => session.stdout() === `${SECRET}\n`, { what: 'the container to answer' });
      assert.equal(await foundByNobody(host), []);
      assert.is(await inJournal(host), '');
      await session.stop();
      await host.run(`truncate -s 0 /srv/app/env; echo '${SECRET} is no variable' >/srv/app/env`);
      await host.run('docker rm -f wormhole-a; timeout 100 nc 127.0.0.1 7001 </dev/null', {
        check: false,
        timeout: 150,
      });
      assert.match(
        await host.journal('-b', '-o', 'cat', '-t', 'wormhole-a-run'),
        /env", line 1: write NAME=VALUE/,
      );
      assert.is(await inJournal(host), '', 'nor when the file is wrong');
      await succeeds(host, 'delete a');
    });

    test('what -e says is in a unit, which everyone can read, and nowhere else', async () => {
      const host = at();
      await succeeds(
        host,
        `create id b url :7001 trigger url :7000 docker-run "-e PASSWORD=${SECRET} wormhole/tools false"`,
      );
      await host.run('timeout 20 nc 127.0.0.1 7001 </dev/null', { check: false });
      assert.equal(await foundByNobody(host), ['/etc/systemd/system/wormhole-b.socket', '(standard input)']);
      assert.is(await inJournal(host), '');
      await succeeds(host, 'delete b');
      assert.equal(await foundByNobody(host), []);
    });

    test('a command that others look at while it runs', async () => {
      const host = at();
      const holder = host.spawn('exec 9>>/run/wormhole/links.lock; flock 9; echo held; sleep 600');
      await host.waitFor(() => holder.stdout() === 'held\n', { what: 'the lock' });
      const create = host.spawn(
        `exec wormhole create id c url :7001 trigger docker-run "-e PASSWORD=${SECRET} wormhole/tools"`,
      );
      await host.waitFor(
        async () => (await foundByNobody(host)).some((place) => /^\/proc\/\d+\/cmdline$/.test(place)),
        {
          what: 'a process that shows what was typed',
        },
      );
      await holder.stop();
      assert.is((await create.exited).stdout, 'c tcp://127.0.0.1:7001\n');
      await succeeds(host, 'delete c');
    });

    test('mistakes around it are told without it: by commands, by the API, and in the journal', async () => {
      const host = at();
      for (const [args, expected] of [
        [`url :7001 trigger docker-run -e PASSWORD=${SECRET} wormhole/tools`, /in one word, in quotes/],
        [`url :7001 trigger docker-run wormhole/tools -e PASSWORD=${SECRET}`, /in one word, in quotes/],
        [
          `url :7001 trigger docker-run "-e ${SECRET} wormhole/tools"`,
          /-e \(word 1 of its arguments\): write NAME=VALUE/,
        ],
        [
          `url :7001 trigger docker-run "-e PASSWORD=x ${SECRET}! wormhole/tools"`,
          /word 3 of its arguments cannot be the name of an image/,
        ],
        [`url :7001 trigger docker-run "-e 'PASSWORD=${SECRET} wormhole/tools"`, /inside a quote/],
        [`url :7001 trigger docker-run "-v ${SECRET}: wormhole/tools"`, /-v \(word 1 of its arguments\)/],
      ] as const) {
        await fails(host, `create ${args}`, expected, 2);
        const { stderr } = await wormhole(host, `create ${args}`);
        assert.not.match(stderr, SECRET, args);
        // As another machine would ask for it, without a client that looks at it first.
        const recipe = JSON.parse(
          (await host.run(`node -p 'JSON.stringify(process.argv.slice(1))' -- ${args}`)).stdout,
        );
        const asked = await host.run(
          [
            'curl',
            '-s',
            '--unix-socket',
            '/run/wormhole.sock',
            '-d',
            JSON.stringify({ recipe }),
            'http://localhost/v1/links',
          ],
          {},
        );
        assert.match(asked.stdout, /"code":"usage"/);
        assert.not.match(asked.stdout, SECRET, args);
      }
      await host.run('journalctl --sync');
      assert.match(
        await host.journal('-b', '-o', 'cat', '-t', 'wormholed'),
        /create url :7001 trigger docker-run …: usage: /,
      );
      assert.is(await inJournal(host), '');
    });

    test('nothing is left', async () => leavesNothing(at()));
  },
);
