import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import type { Running } from './rig/shell.ts';
import { labSuite } from './suite.ts';

const FILES: Record<string, string> = {
  // It says who it is, and how often it has been started.
  'hello.service': `
    [Unit]
    StartLimitIntervalSec=0
    [Service]
    ExecStartPre=/bin/sh -c 'echo >>/run/hello'
    ExecStart=socat -t 60 TCP-LISTEN:6000,bind=127.0.0.1,reuseaddr,fork SYSTEM:"wc -l </run/hello; cat"
    SuccessExitStatus=143
    [Install]
    WantedBy=multi-user.target`,
  'slow@.service': `
    [Service]
    ExecStartPre=/bin/sleep 3
    ExecStart=socat -t 60 TCP-LISTEN:%i,bind=127.0.0.1,reuseaddr,fork EXEC:cat
    SuccessExitStatus=143`,
  'broken.service': `
    [Service]
    Type=notify
    ExecStart=/bin/sh -c 'echo the disk is on fire; exit 3'`,
  'stillborn.service': `
    [Service]
    ExecStart=/bin/sh -c 'sleep 0.2; echo I cannot go on; exit 4'`,
  'private.service': '[Service]\nPrivateNetwork=yes\nExecStart=sleep infinity',
  'netns.service': '[Service]\nNetworkNamespacePath=/run/netns/blue\nExecStart=sleep infinity',
  'once.service': '[Service]\nType=oneshot\nExecStart=/bin/true',
  'needy.service': '[Unit]\nRequires=hello.service\nAfter=hello.service\n[Service]\nExecStart=sleep infinity',
};

labSuite(
  'a connection starts a service',
  async () => {
    const host = await installedHost({ name: 'unit', docker: false });
    for (const [name, text] of Object.entries(FILES))
      await host.run(['tee', `/etc/systemd/system/${name}`], { input: text.replaceAll(/^ +/gm, '').trim() });
    await host.run('systemctl daemon-reload');
    return host;
  },
  (test, at) => {
    test('what no connection can start is refused in one line, and nothing is made', async () => {
      const host = at();
      const refusals: [string, RegExp][] = [
        ['nosuch', /^wormhole: unit "nosuch\.service" does not exist: /],
        [
          'private',
          /^wormhole: unit "private\.service" runs in a network namespace of its own \(PrivateNetwork=\)/,
        ],
        ['netns.service', /network namespace of its own \(NetworkNamespacePath=\)/],
        ['once', /^wormhole: unit "once\.service" is over as soon as it has run \(Type=oneshot\)/],
      ];
      for (const [unit, expected] of refusals)
        await fails(host, `create url :7000 trigger unit ${unit} url :6000`, expected);
      await host.run('systemctl mask slow@7.service; systemctl daemon-reload');
      await fails(
        host,
        'create url :7000 trigger unit slow@7 url :6000',
        /is masked.*systemctl unmask slow@7\.service/,
      );
      await fails(
        host,
        'create url :7000 trigger unit wormhole-sync url :6000',
        /one of Wormhole's own units/,
        2,
      );
      await leavesNothing(host);
    });

    test('the first connection starts it, and idle stops it', async () => {
      const host = at();
      assert.is(
        await succeeds(host, 'create id hello url :7000 idle 6s trigger unit hello url :6000'),
        'hello tcp://127.0.0.1:7000',
      );
      assert.match(await succeeds(host, 'list'), /^hello .*sleeping$/m);
      assert.is(await isActive(host, 'hello'), 'inactive');
      // However long the looks take, an open session keeps it.
      const open = await holds(host);
      assert.is(open.stdout(), '1\nhi\n');
      assert.is(await isActive(host, 'hello'), 'active');
      assert.match(await succeeds(host, 'show hello'), /^hello\.service +active \(running\)/m);
      open.end();
      await open.exited;
      await becomes(host, 'hello', 'inactive');
      await host.waitFor(async () => /sleeping/.test(await succeeds(host, 'list')), {
        what: 'the link to sleep',
      });
      assert.is(await ask(host), '2\nhi\n');
      await becomes(host, 'hello', 'inactive');
      assert.not.match(await host.journal('-b', '-p', 'err', '-u', 'wormhole-*'), /wormhole-hello/);
    });

    test('one that an operator has started stays', async () => {
      const host = at();
      await host.run('systemctl start hello');
      assert.is(await ask(host), '3\nhi\n');
      await stopsRun(host, 'hello');
      assert.is(await isActive(host, 'hello'), 'active');
      await host.run('systemctl stop hello');
    });

    test('a restart while it is in use is followed, and so is a stop', async () => {
      const host = at();
      assert.is(await ask(host), '4\nhi\n');
      await host.run('systemctl restart hello');
      assert.is(await ask(host), '5\nhi\n');
      // A connection that is open keeps the forwarder from ending.
      const open = host.spawn('nc -N 127.0.0.1 7000');
      await host.waitFor(async () => /1 open/.test(await succeeds(host, 'list')), { what: 'the client' });
      await host.run('systemctl stop hello');
      await stopsRun(host, 'hello');
      assert.is(await ask(host), '6\nhi\n');
      open.end();
      await open.exited;
      await becomes(host, 'hello', 'inactive');
    });

    test('one that systemd restarts after a crash is still stopped by idleness', async () => {
      const host = at();
      await host.run(
        'mkdir -p /run/systemd/system/hello.service.d; printf "[Service]\\nRestart=on-failure\\n" >/run/systemd/system/hello.service.d/restart.conf; systemctl daemon-reload',
      );
      assert.is(await ask(host), '7\nhi\n');
      await host.run('systemctl kill --signal KILL hello');
      await becomes(host, 'hello', 'active');
      // What had started it before the crash ends meanwhile, and leaves the clients of the restarted one alone.
      const slow = await host.run('(sleep 3; echo hi) | nc -N 127.0.0.1 7000', { timeout: 30 });
      assert.is(slow.stdout, '8\nhi\n');
      assert.is(await ask(host), '8\nhi\n');
      await becomes(host, 'hello', 'inactive');
      await host.run('rm -r /run/systemd/system/hello.service.d; systemctl daemon-reload');
    });

    test('a service that another unit needs stays', async () => {
      const host = at();
      assert.match(await ask(host), /hi/);
      await host.run('systemctl start needy');
      await stopsRun(host, 'hello');
      assert.is(await isActive(host, 'hello'), 'active');
      assert.match(
        await host.journal('-b', '-o', 'cat'),
        /^link hello: unit hello\.service stays, since it is needed by needy\.service\.$/m,
      );
      await host.run('systemctl stop needy hello');
    });

    test('the client is held while it starts; a child is open before it', async () => {
      const host = at();
      await succeeds(
        host,
        'create id slow url :7001 trigger unit slow@6001 url :6001 child url :7002 tail url :6000',
      );
      assert.is((await host.run('echo hi | nc -N 127.0.0.1 7001')).stdout, 'hi\n');
      const order = (await host.journal('-b', '-o', 'cat')).split('\n');
      const indexOf = (what: RegExp) => order.findIndex((line) => what.test(line));
      assert.ok(indexOf(/^Listening on .*slow-7002/) < indexOf(/^Start(ing|ed) slow@6001/), order.join('\n'));
      await succeeds(host, 'delete slow');
      assert.is(await isActive(host, 'slow@6001'), 'active', 'delete leaves the service alone');
      await host.run('systemctl stop slow@6001');
    });

    for (const [unit, words, reason] of [
      ['broken', 'the disk is on fire', 'exit-code'],
      ['stillborn', 'I cannot go on', 'exit-code'],
    ] as const)
      test(`${unit}: the journal and the list name it, and the client is closed`, async () => {
        const host = at();
        await succeeds(host, `create id ${unit} url :7003 idle 20s trigger unit ${unit} url :6003`);
        const started = Date.now();
        assert.is((await host.run('nc -N 127.0.0.1 7003 </dev/null', { check: false })).stdout, '');
        assert.ok(Date.now() - started < 40_000, 'long before the start timeout');
        // Until its idle time is over.
        const failed = new RegExp(
          `^${unit} .*failed to start ${unit}\\.service: see journalctl -u wormhole-${unit}-run\\.service`,
          'm',
        );
        await host.waitFor(async () => failed.test(await succeeds(host, 'list')), {
          what: 'the list to say so',
        });
        const lines = (await host.journal('-b', '-o', 'cat', '-u', `wormhole-${unit}-run`))
          .split('\n')
          .filter((line) => line.includes(`unit ${unit}.service`));
        assert.is(lines.length, 1, lines.join('\n'));
        assert.match(
          lines[0] ?? '',
          new RegExp(
            `link ${unit}: unit ${unit}\\.service has failed \\(${reason}\\); its last words: .*${words}.*tries again, at the earliest in 1 s\\.$`,
          ),
        );
        await succeeds(host, `delete ${unit}`);
        await host.run(`systemctl reset-failed ${unit}`);
      });

    test('several tails, with one that is started', async () => {
      const host = at();
      await succeeds(
        host,
        'create --balance first id two url :7004 idle 2s tail url :6009 or trigger unit hello url :6000',
      );
      assert.match((await host.run('echo hi | nc -N 127.0.0.1 7004')).stdout, /^\d+\nhi\n$/);
      assert.match(await succeeds(host, 'list'), /two-to-hello/);
      await becomes(host, 'hello', 'inactive');
      await succeeds(host, 'delete two');
    });

    test('a link whose tail is a service starts it at creation and at boot; the other sleeps', async () => {
      const host = at();
      await succeeds(host, 'create id eager url :7005 tail unit slow@6005 url :6005');
      assert.is(await isActive(host, 'slow@6005'), 'active');
      await host.reboot();
      await becomes(host, 'slow@6005', 'active');
      assert.is((await host.run('echo hi | nc -N 127.0.0.1 7005')).stdout, 'hi\n');
      assert.is(await isActive(host, 'hello'), 'inactive');
      assert.is(await ask(host), '1\nhi\n');
      await becomes(host, 'hello', 'inactive');
    });

    test('export, apply and edit know it; delete leaves the services as they are', async () => {
      const host = at();
      const text = await succeeds(host, 'export hello');
      assert.match(text, /unit hello\.service/);
      const open = await holds(host);
      await succeeds(host, 'delete hello');
      assert.is(await isActive(host, 'hello'), 'active');
      await open.stop();
      await host.run(['tee', '/etc/wormhole/links.d/hello.wormhole'], { input: text });
      await host.run('wormhole apply');
      assert.match(await ask(host), /hi/);
      // Another service in place: what a client was connected to stays, and the next one is led to what is started for it.
      await succeeds(host, 'create --replace id hello url :7000 idle 2s trigger unit slow@6007 url :6007');
      assert.is(await ask(host), 'hi\n');
      assert.is(await isActive(host, 'hello'), 'active');
      await becomes(host, 'slow@6007', 'inactive');
      await host.run('systemctl stop hello');
      await succeeds(host, 'delete eager');
      await host.run('rm /etc/wormhole/links.d/hello.wormhole; wormhole delete hello');
      assert.is(await isActive(host, 'slow@6005'), 'active');
      await leavesNothing(host);
    });
  },
);

/** What the service says of itself, and what it echoes. */
async function ask(host: Host): Promise<string> {
  return (await host.run('echo hi | nc -N 127.0.0.1 7000', { timeout: 30 })).stdout;
}

/** Opens a session that has been answered, and stays open. */
async function holds(host: Host): Promise<Running> {
  const session = host.spawn('nc -N 127.0.0.1 7000');
  session.write('hi\n');
  await host.waitFor(() => session.stdout().endsWith('hi\n'), { what: 'the answer' });
  return session;
}

async function isActive(host: Host, unit: string): Promise<string> {
  return (await host.run(`systemctl is-active ${unit}.service`, { check: false })).stdout.trim();
}

async function becomes(host: Host, unit: string, state: string): Promise<void> {
  await host.waitFor(async () => (await isActive(host, unit)) === state, {
    timeout: 30,
    what: `${unit} to be ${state}`,
  });
}

/** Waits until idleness has stopped what starts the service of a link. */
function stopsRun(host: Host, link: string): Promise<void> {
  return becomes(host, `wormhole-${link}-run`, 'inactive');
}
