import * as assert from 'uvu/assert';
import { type Cluster, cluster } from './cluster.ts';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import { startNamedServers } from './named-servers.ts';
import { allGone, greeter, hears } from './pair.ts';
import type { Host } from './rig/host.ts';
import type { Running } from './rig/shell.ts';
import { labSuite } from './suite.ts';

/* Links that are changed in place: create --replace, and edit. */

const DOCKERFILE = `FROM wormhole/tools
RUN mkdir /data && echo seed >/data/notes
VOLUME /data
CMD ["socat", "-t", "60", "TCP-LISTEN:7000,fork,reuseaddr", "SYSTEM:read line; echo $line $MARK >>/data/notes; cat /data/notes"]
`;

labSuite(
  'links changed in place',
  async () => {
    const host = await installedHost({ name: 'replace' });
    await host.run('docker build -q -t notes -', { input: DOCKERFILE });
    await startNamedServers(host);
    return host;
  },
  (test, at) => {
    test('where there is no link of that id, it is created', async () => {
      const host = at();
      assert.is(
        await succeeds(host, 'create --replace url :4000 tail url :4100'),
        '4000 tcp://127.0.0.1:4000',
      );
      assert.is(await note(host, 4000, 'x'), 'one x\n');
      await fails(
        host,
        'create url :4000 tail url :4200',
        /link "4000" listens on 127\.0\.0\.1:4000 already/,
      );
    });

    test('only the tail changes: the socket stays, and open sessions go on with the former tail', async () => {
      const host = at();
      const session = host.spawn('socat - TCP:127.0.0.1:4000');
      await says(host, session, 'before', 'one before\n');
      // Sessions younger than a second do not outlive the restart of a forwarder.
      await host.run('sleep 1.5');
      const before = await socket(host, 4000);
      const clients = host.spawn(
        'until test -e /run/replaced; do echo x | timeout 60 nc -N 127.0.0.1 4000 || echo refused; sleep 0.02; done; echo last | nc -N 127.0.0.1 4000',
      );
      await host.waitFor(() => clients.stdout().includes('one x'), { what: 'the first clients' });
      assert.is(
        await succeeds(host, 'create --replace url :4000 tail url :4200'),
        '4000 tcp://127.0.0.1:4000',
      );
      assert.is(await socket(host, 4000), before);
      await says(host, session, 'after', 'one before\none after\n');
      assert.is(await note(host, 4000, 'x'), 'two x\n');
      await host.run('touch /run/replaced');
      const { stdout } = await clients.exited;
      assert.not.match(stdout, /refused/);
      assert.match(stdout, /^(one x\n)+(two x\n)*two last\n$/);
      session.end();
      await session.exited;
      assert.match(await succeeds(host, 'list'), /^4000 .* tcp:\/\/127\.0\.0\.1:4200 /m);
    });

    test('the same again does nothing', async () => {
      const host = at();
      const units =
        'systemctl show -p ActiveEnterTimestampMonotonic wormhole-4000.socket wormhole-4000.service';
      const before = (await host.run(units)).stdout;
      await succeeds(host, 'create --replace url :4000 tail url :4200');
      assert.is((await host.run(units)).stdout, before);
    });

    test('the head changes: it listens there, and no longer where it did', async () => {
      const host = at();
      assert.is(
        await succeeds(host, 'create --replace id 4000 url :4001 tail url :4200'),
        '4000 tcp://127.0.0.1:4001',
      );
      assert.is(await note(host, 4001, 'x'), 'two x\n');
      assert.is(await note(host, 4000, 'x'), '');
      await host.reboot();
      await host.run(
        `systemd-run --unit two socat -t 60 TCP-LISTEN:4200,bind=127.0.0.1,fork,reuseaddr SYSTEM:'while read line; do echo two $line; done'`,
      );
      assert.is(await note(host, 4001, 'x'), 'two x\n');
    });

    test('a head that is in use by another program: the former link is there again', async () => {
      const host = at();
      await fails(
        host,
        'create --replace id 4000 url :4200 tail url :4001',
        /127\.0\.0\.1:4200 .*is in use already/,
      );
      assert.is(await note(host, 4001, 'x'), 'two x\n');
      assert.match(await succeeds(host, 'list'), /^4000 +tcp:\/\/127\.0\.0\.1:4001 /m);
      assert.is((await host.run('ls /var/lib/wormhole/former-links')).stdout, '');
    });

    test('a link that is stopped is changed, and stays stopped', async () => {
      const host = at();
      await succeeds(host, 'stop 4000');
      await succeeds(host, 'create --replace id 4000 url :4002 tail url :4200');
      assert.is(await note(host, 4002, 'x'), '');
      assert.match(await succeeds(host, 'list'), /^4000 +tcp:\/\/127\.0\.0\.1:4002 .* stopped /m);
      await succeeds(host, 'start 4000');
      assert.is(await note(host, 4002, 'x'), 'two x\n');
      await succeeds(host, 'delete 4000');
    });

    test('a container that is run with the same arguments stays, whatever else changes', async () => {
      const host = at();
      await succeeds(host, 'create id db url :5000 trigger url :7000 docker-run notes');
      assert.is(await note(host, 5000, 'a'), 'seed\na\n');
      const before = await host.container('wormhole-db').inspect('{{.Id}}');
      await succeeds(host, 'create --replace id db url :5001 idle 1h trigger url :7000 docker-run notes');
      assert.is(await note(host, 5001, 'b'), 'seed\na\nb\n');
      assert.is(await host.container('wormhole-db').inspect('{{.Id}}'), before);
    });

    test('one with other arguments is replaced, and has the volumes of the former one', async () => {
      const host = at();
      const before = await host.container('wormhole-db').inspect('{{.Id}}');
      await succeeds(
        host,
        "create --replace id db url :5001 trigger url :7000 docker-run '-e MARK=new notes'",
      );
      assert.is(await note(host, 5001, 'c'), 'seed\na\nb\nc new\n');
      assert.is.not(await host.container('wormhole-db').inspect('{{.Id}}'), before);
      assert.is((await host.run('docker ps -aq | wc -l')).stdout, '2\n');
      assert.not.match(await succeeds(host, 'list'), /created again/);
    });

    test('when it fails, the former container is there again, with what it has written', async () => {
      const host = at();
      await host.container('wormhole-db').run('echo precious >/root-file');
      const before = await host.container('wormhole-db').inspect('{{.Id}}');
      await fails(
        host,
        "create --replace id db url :5001 tail url :7000 docker-run 'notes false'",
        /link "db"|container "wormhole-db"/,
      );
      assert.is(await host.container('wormhole-db').inspect('{{.Id}}'), before);
      assert.is(await note(host, 5001, 'd'), 'seed\na\nb\nc new\nd new\n');
      assert.is((await host.container('wormhole-db').run('cat /root-file')).stdout, 'precious\n');
      assert.is((await host.run('docker ps -aq | wc -l')).stdout, '2\n');
      assert.not.match(await succeeds(host, 'list'), /created again/);
    });

    test('killed at any moment, the next command puts the link back, or leaves it changed', async () => {
      const host = at();
      for (const [round, seconds] of [0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.6, 2].entries()) {
        const change = `create --replace id db url :5001 trigger url :7000 docker-run '-e MARK=r${round} notes'`;
        await host.run(`timeout -s KILL ${seconds} wormhole ${change}`, { check: false });
        // Any command that changes links.
        await succeeds(host, 'start db');
        const said = await note(host, 5001, 'k');
        assert.match(said, /^seed\na\nb\nc new\nd new\n/, `after ${seconds} s`);
        assert.is((await host.run('docker ps -aq | wc -l')).stdout, '2\n', `after ${seconds} s`);
        const [link] = JSON.parse(await succeeds(host, 'list --json'));
        const mark = /MARK=(\w+)/.exec(link.recipe)?.[1];
        assert.match(said, new RegExp(`k ${mark}\\n$`), `after ${seconds} s`);
        assert.is((await host.run('ls /var/lib/wormhole/former-links')).stdout, '');
      }
    });

    test('a child is added and removed; the rest goes on', async () => {
      const host = at();
      await succeeds(host, 'create --replace id db url :5001 trigger url :7000 docker-run notes');
      await note(host, 5001, 'x');
      const before = await host.container('wormhole-db').inspect('{{.Id}} {{.State.StartedAt}}');
      await succeeds(
        host,
        'create --replace id db url :5001 trigger url :7000 docker-run notes child id in url :4201 tail url :4200',
      );
      await host.waitFor(
        async () =>
          (
            await host
              .container('wormhole-db')
              .runInNetwork('echo x | nc -N 127.0.0.1 4201', { check: false })
          ).stdout === 'two x\n',
        { what: 'the child to listen' },
      );
      await succeeds(host, 'create --replace id db url :5001 trigger url :7000 docker-run notes');
      assert.is(await host.container('wormhole-db').inspect('{{.Id}} {{.State.StartedAt}}'), before);
      assert.is((await host.run("ls /etc/systemd/system/ | grep -c 'wormhole-in' || true")).stdout, '0\n');
    });

    test('over -H, and what cannot be replaced', async () => {
      const host = at();
      await succeeds(
        host,
        '-H unix:///run/wormhole.sock create --replace id db url :5002 trigger url :7000 docker-run notes',
      );
      assert.match(await note(host, 5002, 'h'), /^seed\n/);
      await succeeds(host, 'create id outer url :4010 chain id inner url :4011 tail url :4200');
      await fails(
        host,
        'create --replace id inner url :4012 tail url :4200',
        /link "inner" is a part of link "outer"/,
      );
      await fails(
        host,
        'create --replace id db url :4010 tail url :4200',
        /link "outer" listens on 127\.0\.0\.1:4010 already/,
      );
      await fails(host, 'create --replace url tcp:// tail url :4200', /which link is to be replaced\?/, 2);
      assert.match(await note(host, 5002, 'h'), /^seed\n/);
      await succeeds(host, 'delete outer');
      await succeeds(host, 'delete --volumes db');
      await leavesNothing(host);
    });

    test('edit: the recipe in the editor, the change in place', async () => {
      const host = at();
      await succeeds(host, 'create --start-timeout 90s id e url :4020 tail url :4200');
      const run = (editor: string) =>
        host.run(['env', `EDITOR=${editor}`, 'wormhole', 'edit', 'e'], { check: false });
      assert.equal(await run('true').then(({ stderr, status }) => [stderr, status]), [
        'wormhole: link "e" stays as it is: the text is the same\n',
        0,
      ]);
      const shown = (await run('cat')).stdout;
      assert.match(
        shown,
        /^# Link e\..*\n#.*\n--start-timeout 1m30s\nid e\nurl tcp:\/\/127\.0\.0\.1:4020\ntail\nurl tcp:\/\/127\.0\.0\.1:4200\n$/,
      );
      const changed = await run('sed -i s/4020/4021/;s/1m30s/1m20s/');
      assert.equal([changed.stdout, changed.stderr, changed.status], ['e tcp://127.0.0.1:4021\n', '', 0]);
      assert.is(await note(host, 4021, 'x'), 'two x\n');
      assert.match((await run('cat')).stdout, /^--start-timeout 1m20s$/m);
    });

    test('edit: errors leave the link as it was, and keep the text', async () => {
      const host = at();
      const run = (editor: string) =>
        host.run(['env', `EDITOR=${editor}`, 'wormhole', 'edit', 'e'], { check: false });
      for (const [editor, expected, status] of [
        [
          'sed -i s/^tail/tial/',
          /^wormhole: .*tial.*; link "e" stays as it was; what you wrote is kept in (\S+)\n$/,
          2,
        ],
        ['sed -i s/^id.e/id.f/', /^wormhole: the recipe must keep "id e".* is kept in (\S+)\n$/, 2],
        ['sed -i s/4021/4200/', /^wormhole: .* is kept in (\S+)\n$/, 2],
        ['sed -i s/--start/--strat/', /^wormhole: unknown option .*\nwormhole: .* is kept in (\S+)\n$/, 2],
      ] as const) {
        const { stderr, status: got } = await run(editor);
        const [, file = ''] = expected.exec(stderr) ?? [];
        assert.match(stderr, expected);
        assert.is(got, status, editor);
        assert.match((await host.run(`cat ${file}`)).stdout, /^# Link e/);
        assert.is((await host.run(`stat -c %a ${file}`)).stdout, '600\n');
        assert.is(await note(host, 4021, 'x'), 'two x\n');
      }
      for (const [editor, expected] of [
        ['false', /^wormhole: the editor "false" has failed \(status 1\); link "e" stays as it was\n$/],
        [
          '/nowhere',
          /^wormhole: there is no editor "\/nowhere": set \$EDITOR to one; link "e" stays as it was\n$/,
        ],
      ] as const) {
        const { stderr, status } = await run(editor);
        assert.match(stderr, expected);
        assert.is(status, 1);
      }
      await host.run('rm -r /tmp/wormhole-edit-*');
      await fails(host, 'edit nobody', /no link "nobody"/);
      await succeeds(host, 'delete e');
      await leavesNothing(host);
    });
  },
);

labSuite<Cluster>('links to other machines changed in place', cluster, (test, at) => {
  test('a part that would be the same stays; another one is created, and the former one deleted', async () => {
    const { alpha, beta } = at();
    await greeter(beta, 'one', 6001, 'one');
    await greeter(beta, 'two', 6002, 'two');
    await succeeds(alpha, 'create id link url :6000 remote beta tail url :6001');
    assert.is(await hears(alpha, 6000), 'one\n');
    const parts = async () =>
      JSON.parse(await succeeds(beta, 'list --json')) as { id: string; tail: { url: string } }[];
    const before = await parts();
    await succeeds(alpha, 'create --replace id link url :6005 remote beta tail url :6001');
    assert.is(await hears(alpha, 6005), 'one\n');
    await succeeds(alpha, 'create --replace id link url :6005 remote beta tail url :6002');
    assert.is(await hears(alpha, 6005), 'two\n');
    const after = await parts();
    assert.is(after.length, 1);
    assert.is.not(after[0]?.tail.url, before[0]?.tail.url);
    await fails(
      alpha,
      'create --replace id link url :6005 remote beta tail url :6002 docker-ns nobody',
      /machine beta: /,
    );
    assert.is(await hears(alpha, 6005), 'two\n');
    assert.equal(
      (await parts()).map(({ id }) => id),
      after.map(({ id }) => id),
    );
    await succeeds(alpha, 'delete link');
    await allGone(alpha, beta);
  });
});

/** Sends a line to a port of the host's 127.0.0.1, and returns the answer. */
async function note(host: Host, port: number, line: string): Promise<string> {
  const { stdout } = await host.run(`echo ${line} | timeout 60 nc -N 127.0.0.1 ${port}`, {
    check: false,
    timeout: 90,
  });
  return stdout;
}

/** Says a line in a session, and waits for all that it has been told. */
async function says(host: Host, session: Running, line: string, heard: string): Promise<void> {
  session.write(`${line}\n`);
  await host.waitFor(() => session.stdout() === heard, { what: `"${line}" to be answered` });
}

/** What identifies the socket that listens on a port. */
async function socket(host: Host, port: number): Promise<string> {
  return (await host.run(`ss -Hltne 'sport = :${port}' | grep -o 'ino:[0-9]*'`)).stdout;
}
