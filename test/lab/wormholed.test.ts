import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { cluster, daemonEnds, isActive, said, wantsLock } from './cluster.ts';
import { fails, leavesNothing, succeeds, wormhole } from './installed.ts';
import { labSuite } from './suite.ts';

labSuite('wormholed', cluster, (test, at) => {
  test('nothing of it runs until somebody asks, and it ends when nobody does any more', async () => {
    const { alpha, beta } = at();
    assert.not(await isActive(beta, 'wormholed.service'));
    for (let round = 0; round < 2; round++) {
      assert.match(await succeeds(alpha, 'ping beta'), /^\d+\.\d\d [0-9a-f]{32}$/);
      assert.ok(await isActive(beta, 'wormholed.service'));
      await daemonEnds(beta);
    }
    assert.is((await beta.run('systemctl show -P Result wormholed.service')).stdout, 'success\n');
    await beta.waitFor(
      async () => (await beta.run('pgrep -f [w]ormholed.cjs', { check: false })).stdout === '',
      { what: 'its process to go' },
    );
  });

  test('ping: this host, another by name, address and port, and what cannot be', async () => {
    const { alpha, beta } = at();
    for (const host of ['', 'beta', 'beta:9999', beta.address, beta.address6, `[${beta.address6}]:9999`]) {
      const [milliseconds, id] = (await succeeds(alpha, `ping ${host}`)).split(' ');
      assert.ok(Number(milliseconds) > 0 && Number(milliseconds) < 60_000, `${host}: ${milliseconds} ms`);
      assert.is(id, (await succeeds(host === '' ? alpha : beta, 'ping')).split(' ')[1]);
    }
    await succeeds(alpha, '-H tcp://beta ping');
    await succeeds(alpha, '-H beta ping');
    await fails(alpha, 'ping nobody', /machine "nobody" is unknown/);
    await fails(alpha, 'ping beta:9998', /no daemon at tcp:\/\/beta:9998, the connection is refused/);
    await fails(alpha, 'ping 10.90.0.250', /10\.90\.0\.250:9999 (does not answer|cannot be reached)/);
    await fails(alpha, 'ping beta:x', /"beta:x" is not a machine such as/, 2);
    await fails(alpha, '-H tcp://beta ping beta', /a HOST or -H, not both/, 2);
    await fails(alpha, '-H beta:x list', /"beta:x" is not a machine such as/, 2);
    await fails(alpha, '-H tcp://beta:x list', /"tcp:\/\/beta:x" is not an address such as/, 2);
  });

  test('create, list and delete on another host, with the same words and errors as there', async () => {
    const { alpha, beta } = at();
    await said(beta);
    const there = '-H tcp://beta:9999';
    assert.is(await succeeds(alpha, `${there} create url :3000 tail url :3001`), '3000 tcp://127.0.0.1:3000');
    assert.is(await succeeds(alpha, `${there} list`), await succeeds(beta, 'list'));
    assert.is(await succeeds(alpha, `${there} list --json`), await succeeds(beta, 'list --json'));
    assert.equal(JSON.parse(await succeeds(alpha, 'list --json')), [], 'and nothing here');
    assert.match(
      await succeeds(alpha, `${there} create --dry-run --start-timeout 7s url :3002 tail url :3001`),
      /^### \/etc\/systemd\/system\/wormhole-3002\.socket\n/,
    );
    await beta.run('systemd-run --unit other socat TCP-LISTEN:3009,bind=127.0.0.1,fork EXEC:cat');
    for (const [command, status] of [
      ['create url :3000 tail url :3001', 1],
      ['create id 3000 tail url :3001', 1],
      ['create url :80', 2],
      ['create url :80 tial', 2],
      ['create url :80 docker-ns nobody tail url :90', 1],
      ['create url 192.0.2.1:80 tail url :90', 1],
      ['create url :3009 tail url :1', 1],
      ['delete nothing', 1],
    ] as const) {
      const [far, near] = [await wormhole(alpha, `${there} ${command}`), await wormhole(beta, command)];
      assert.is(far.stderr, near.stderr, command);
      assert.is(far.status, near.status, command);
      assert.is(far.status, status, command);
    }
    await succeeds(alpha, `${there} delete 3000`);
    await succeeds(alpha, `${there} list`);
    await leavesNothing(beta);

    const lines = await said(beta);
    const peer = `(${alpha.address}|${alpha.address6})`;
    for (const line of [
      'create url :3000 tail url :3001: created 3000 tcp://127\\.0\\.0\\.1:3000 \\(\\d+\\.\\d s\\)',
      'create url :3000 tail url :3001: taken: link "3000" listens on 127\\.0\\.0\\.1:3000 already.*',
      'delete 3000: done \\(\\d+\\.\\d s\\)',
    ]) {
      assert.match(lines, new RegExp(`^${peer} \\([0-9a-f]{8}\\): ${line}$`, 'm'));
    }
    assert.not.match(lines, /^\S+: (list|ping)|dry-run/m);
  });

  test('several links are deleted on another host, and all of them', async () => {
    const { alpha, beta } = at();
    const there = '-H tcp://beta:9999';
    for (const id of ['a', 'b', 'c', 'd'])
      await succeeds(
        beta,
        `create id ${id} url :31${id.charCodeAt(0)} chain url :32${id.charCodeAt(0)} tail url :1`,
      );
    const { stderr, status } = await wormhole(alpha, `${there} delete a nothing b`);
    assert.is(stderr, 'wormhole: no link "nothing": see wormhole list\n');
    assert.is(status, 1);
    const left = JSON.parse(await succeeds(beta, 'list --json')) as { id: string; parent?: string }[];
    assert.equal(
      left.filter(({ parent }) => parent === undefined).map(({ id }) => id),
      ['c', 'd'],
    );
    await succeeds(alpha, `${there} delete --all`);
    await leavesNothing(beta);
    await succeeds(alpha, `${there} delete --all`);
  });

  test('the unix socket is for root, and does the same', async () => {
    const { alpha } = at();
    assert.is((await alpha.run('stat -c "%a %U %F" /run/wormhole.sock')).stdout, '600 root socket\n');
    await said(alpha);
    const here = '-H unix:///run/wormhole.sock';
    await succeeds(alpha, `${here} create id web url :3000 tail url :3001`);
    assert.match(await succeeds(alpha, 'list'), /^web /m);
    const { stdout } = await alpha.run('curl -s --unix-socket /run/wormhole.sock http://x/v1/links');
    assert.is(JSON.parse(stdout).links[0].id, 'web');
    await succeeds(alpha, `${here} delete web`);
    assert.match(await said(alpha), /^uid 0: create id web url :3000 tail url :3001: created web /m);
    const nobody = await alpha.run('setpriv --reuid nobody --regid nogroup --clear-groups wormhole ping', {
      check: false,
    });
    assert.is(nobody.stderr, 'wormhole: unix:///run/wormhole.sock is for root only: use sudo\n');
    await leavesNothing(alpha);
  });

  test('20 clients create and delete at once', async () => {
    const { alpha, beta, gamma } = at();
    const clients = Array.from({ length: 20 }, (_, n) => ({ host: n % 2 ? alpha : gamma, id: `many${n}` }));
    const made = await Promise.all(
      clients.map(({ host, id }, n) =>
        wormhole(host, `-H tcp://beta create id ${id} url :${4000 + n} tail url :3999`),
      ),
    );
    assert.equal(
      made.map(({ stderr, status }) => stderr || status),
      Array(20).fill(0),
    );
    assert.is(JSON.parse(await succeeds(beta, 'list --json')).length, 20);
    // The same id twice each: one wins, the other is told.
    const gone = await Promise.all(
      clients.flatMap(({ id }) => [alpha, gamma].map((host) => wormhole(host, `-H tcp://beta delete ${id}`))),
    );
    for (const [n, { id }] of clients.entries()) {
      const pair = gone.slice(2 * n, 2 * n + 2).sort((one, other) => one.status - other.status);
      assert.equal(
        pair.map(({ status }) => status),
        [0, 1],
        id,
      );
      assert.is(pair[1]?.stderr, `wormhole: no link "${id}": see wormhole list\n`);
    }
    await leavesNothing(beta);
  });

  test('the same id from two hosts at once: one wins, the other is told', async () => {
    const { alpha, beta, gamma } = at();
    for (let round = 0; round < 5; round++) {
      const results = await Promise.all(
        [alpha, gamma].map((host, n) =>
          wormhole(host, `-H tcp://beta create id twin url :${4100 + n} tail url :1`),
        ),
      );
      results.sort((one, other) => one.status - other.status);
      assert.is(results[0]?.stderr, '');
      assert.is(
        results[1]?.stderr,
        'wormhole: id "twin" is taken: wormhole delete twin, or take another id\n',
      );
      await succeeds(alpha, '-H tcp://beta delete twin');
    }
    await leavesNothing(beta);
  });

  test('a create is completed when its client goes away, and when the daemon is stopped', async () => {
    const { alpha, beta } = at();
    for (const end of ['client', 'daemon'] as const) {
      await said(beta);
      // Whoever has the lock keeps the create waiting.
      const holder = beta.spawn('exec 9>>/run/wormhole/links.lock; flock 9; echo held; sleep 600');
      await beta.waitFor(() => holder.stdout() === 'held\n', { what: 'the lock' });
      const client = alpha.spawn(`wormhole -H tcp://beta create id ${end} url :4200 tail url :1`);
      await beta.waitFor(() => wantsLock(beta), { what: 'the create to wait for the lock' });
      const stop = end === 'daemon' ? beta.run('systemctl stop wormholed.service') : client.stop('SIGKILL');
      await sleep(500);
      await holder.stop();
      await stop;
      await beta.waitFor(async () => (await said(beta)).includes(`create id ${end}`), {
        what: 'the end of it',
      });
      if (end === 'daemon') assert.is((await client.exited).stdout, 'daemon tcp://127.0.0.1:4200\n');
      assert.match(await succeeds(alpha, '-H tcp://beta list'), new RegExp(`^${end} .* listening$`, 'm'));
      await succeeds(alpha, `-H tcp://beta delete ${end}`);
    }
    await leavesNothing(beta);
  });

  test('in the foreground, without the sockets of systemd', async () => {
    const { alpha, beta } = at();
    const taken = await beta.run('wormholed', { check: false });
    assert.match(
      taken.stderr,
      /^wormholed: unix:\/\/\/run\/wormhole\.sock is in use: is it wormholed\.socket/,
    );
    assert.is(taken.status, 1);

    const own = beta.spawn('exec wormholed -H tcp://0.0.0.0:4444 -H unix:///run/own.sock');
    await beta.waitFor(() => own.stderr().includes('listening on unix:///run/own.sock'), {
      what: 'it to listen',
    });
    assert.is((await beta.run('stat -c "%a" /run/own.sock')).stdout, '600\n');
    await succeeds(alpha, 'ping beta:4444');
    await succeeds(beta, '-H unix:///run/own.sock list');
    await succeeds(alpha, '-H tcp://beta:4444 create id fore url :4301 tail url :1');
    const told =
      /^wormholed: [\d.a-f:]+ \([0-9a-f]{8}\): create id fore url :4301 tail url :1: created fore /m;
    await beta.waitFor(() => told.test(own.stderr()), { what: 'the line about the link' });
    await succeeds(alpha, '-H tcp://beta:4444 delete fore');
    await beta.run('pkill -INT -f [t]cp://0.0.0.0:4444');
    assert.is((await own.exited).status, 0);
    assert.is((await beta.run('ls /run/own.sock', { check: false })).stdout, '');

    // One that was killed leaves its file, which does not stop the next.
    const killed = beta.spawn('exec wormholed -H unix:///run/own.sock');
    await beta.waitFor(() => killed.stderr().includes('listening'), { what: 'it to listen' });
    await killed.stop('SIGKILL');
    await beta.run('test -S /run/own.sock');
    const next = beta.spawn('exec wormholed -H unix:///run/own.sock');
    await beta.waitFor(() => next.stderr().includes('listening'), { what: 'it to listen' });
    await succeeds(beta, '-H unix:///run/own.sock ping');
    await next.stop();

    // The usual addresses, with a key and without.
    await beta.run(
      'systemctl stop wormholed.socket wormholed-tcp.socket wormholed-key.path wormholed.service',
    );
    const usual = beta.spawn('exec wormholed');
    await beta.waitFor(() => usual.stderr().includes('tcp://0.0.0.0:9999'), { what: 'it to listen' });
    await succeeds(alpha, 'ping beta');
    await succeeds(beta, 'ping');
    await usual.stop();
    const keyless = beta.spawn('exec wormholed -K /root/none');
    await beta.waitFor(() => keyless.stderr().includes('listening on unix'), { what: 'it to listen' });
    assert.match(
      keyless.stderr(),
      /^wormholed: no key file \/root\/none: .*; not listening on TCP without it$/m,
    );
    await succeeds(beta, 'ping');
    assert.is((await beta.run('ss -Hltn sport = :9999')).stdout, '');
    await keyless.stop();
    await beta.run('systemctl start wormholed.socket wormholed-tcp.socket wormholed-key.path');

    for (const [args, expected, status] of [
      ['-H tcp://0.0.0.0:4444 -K /root/none', /no key file/, 1],
      ['-H tcp://192.0.2.1:4444', /tcp:\/\/192\.0\.2\.1:4444 .*EADDRNOTAVAIL/, 1],
      ['-H here', /"here" is not an address/, 2],
      ['-C 10.0.0.0', /-C "10\.0\.0\.0" is not an IPv4 network/, 2],
      ['-P 0', /-P "0" is not a range of ports/, 2],
      ['-I here', /-I "here" is not an IP address/, 2],
      ['frob', /too many arguments/, 2],
      ['--frob', /unknown option/, 2],
    ] as const) {
      const result = await beta.run(`wormholed ${args}`, { check: false, timeout: 10 });
      assert.match(result.stderr, expected);
      assert.match(result.stderr, /^wormholed: [^\n]+\n$/);
      assert.is(result.status, status, args);
    }
  });

  test('systemd-analyze has nothing to say of the units', async () => {
    const { beta } = at();
    const verified = await beta.run(
      'systemd-analyze verify wormholed.service wormholed.socket wormholed-tcp.socket wormholed-key.path wormholed-key.service wormholed-read.socket wormholed-web.socket wormholed-web.service 2>&1 | grep wormholed',
      { check: false },
    );
    assert.is(verified.stdout, '');
  });

  test('install.sh: again, over an edited configuration, and away with it', async () => {
    const { alpha, gamma } = at();
    await gamma.run('echo WORMHOLED_ARGS=--idle=7 >/etc/wormhole/wormholed.conf');
    await succeeds(alpha, 'ping gamma');
    await gamma.run('/src/wormhole/install.sh', { timeout: 120 });
    assert.is((await gamma.run('cat /etc/wormhole/wormholed.conf')).stdout, 'WORMHOLED_ARGS=--idle=7\n');
    await succeeds(alpha, 'ping gamma');
    await gamma.run('/src/wormhole/install.sh --uninstall', { timeout: 120 });
    await fails(alpha, 'ping gamma', /the connection is refused/);
    const left = 'find /etc/systemd /run/wormhole.sock /usr/local -name "*wormholed*"';
    assert.is((await gamma.run(left, { check: false })).stdout, '');
    await gamma.run(`test -s /etc/wormhole/key.secret && test -s /etc/wormhole/wormholed.conf`);
    await gamma.run('/src/wormhole/install.sh --listen', { timeout: 120 });
    await succeeds(alpha, 'ping gamma');
    await gamma.run('/src/wormhole/install.sh --uninstall --purge', { timeout: 120 });
    assert.is((await gamma.run('ls -d /etc/wormhole /run/wormhole*', { check: false })).stdout, '');
    assert.is(await gamma.failedUnits(), '');
  });

  test('the manual page and the help', async () => {
    const { beta } = at();
    assert.match((await beta.run('man wormholed | cat')).stdout, /THE KEY/);
    assert.is((await beta.run('man --warnings wormholed 2>&1 >/dev/null')).stdout, '');
    const { stdout } = await beta.run('wormholed --help');
    for (const option of ['-K', '-H', '-I', '-E', '-C', '-P', '--idle']) assert.match(stdout, option);
    assert.match(await succeeds(beta, 'help ping'), /milliseconds/);
  });
});
