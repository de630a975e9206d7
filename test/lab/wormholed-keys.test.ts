import { randomBytes } from 'node:crypto';
import * as assert from 'uvu/assert';
import { cluster, daemonEnds, KEY_FILE, said, writeKey } from './cluster.ts';
import { fails, succeeds } from './installed.ts';
import type { Running } from './rig/shell.ts';
import { labSuite } from './suite.ts';

labSuite('keys of wormholed', cluster, (test, at) => {
  test('another key, no key and a key that others can read: refused, and told why', async () => {
    const { alpha, beta } = at();
    const key = (await alpha.run(`cat ${KEY_FILE}`)).stdout;
    await said(beta);
    await alpha.run('umask 077; cat >/root/other', { input: randomBytes(32).toString('hex') });
    await fails(alpha, '-K /root/other ping beta', /the keys of this machine and tcp:\/\/beta:9999 differ/);
    await fails(
      alpha,
      '-K /root/other -H tcp://beta create url :80 tail url :90',
      /the keys of this machine and \S+ differ/,
    );
    await fails(alpha, '-K /root/none ping beta', /no key file \/root\/none: copy it/);
    await alpha.run('chmod 644 /root/other');
    await fails(
      alpha,
      '-K /root/other ping beta',
      /has mode 0644, so other users can read it: chmod 600 \/root\/other/,
    );
    await alpha.run('chmod 600 /root/other; chown nobody /root/other');
    await fails(alpha, '-K /root/other ping beta', /belongs to uid 65534: chown root \/root\/other/);
    await alpha.run('umask 077; echo short >/root/short');
    await fails(
      alpha,
      '-K /root/short ping beta',
      /line 1: it is neither hexadecimal nor base64\. A key is 32 hexadecimal digits or more/,
    );
    assert.match(
      await said(beta),
      new RegExp(`^refused (${alpha.address}|${alpha.address6}), which has another key$`, 'm'),
    );
    assert.is((await alpha.run(`cat ${KEY_FILE}`)).stdout, key);
  });

  test('the key is changed without a caller refused meanwhile', async () => {
    const { alpha, beta } = at();
    const old = (await alpha.run(`cat ${KEY_FILE}`)).stdout.trim();
    const fresh = randomBytes(32).toString('base64');
    const calling = alpha.spawn('until [ -e /tmp/stop ]; do wormhole ping beta || echo failed; done');
    const back = beta.spawn('until [ -e /tmp/stop ]; do wormhole ping alpha || echo failed; done');
    const calls = () => [calling, back];
    const countOf = ({ stdout }: Running) => stdout().split('\n').length;
    for (const keys of [`${old}\n${fresh}`, `${fresh}\n${old}`, fresh]) {
      for (const host of [alpha, beta]) {
        await writeKey(host, `${keys}\n`);
        // Calls that have read the old one are over by then: on each machine one comes after the other, and the line of one that has
        // ended may be on its way here.
        const before = calls().map(countOf);
        await alpha.waitFor(() => calls().every((own, n) => countOf(own) > (before[n] ?? 0) + 1), {
          what: 'the calls that have begun to end',
        });
      }
    }
    await alpha.waitFor(() => calls().every((own) => countOf(own) > 5), { what: 'five calls' });
    for (const host of [alpha, beta]) await host.run('touch /tmp/stop');
    for (const { stdout, stderr } of [await calling.exited, await back.exited]) {
      assert.is(stderr, '');
      assert.match(stdout, /^(\d+\.\d\d [0-9a-f]{32}\n){5,}$/);
    }
    await alpha.run('umask 077; cat >/root/old', { input: old });
    await fails(alpha, '-K /root/old ping beta', /the keys of this machine and \S+ differ/);
    for (const host of [alpha, beta, at().gamma]) await writeKey(host, `${old}\n`);
    await succeeds(alpha, 'ping beta');
  });

  test('without a key that can be used TCP is closed, and opens by itself when there is one', async () => {
    const { alpha, beta } = at();
    const listens = async () => (await beta.run('ss -Hltn sport = :9999')).stdout !== '';
    await daemonEnds(beta);
    await said(beta);
    await beta.run(`chmod 644 ${KEY_FILE}`);
    await fails(alpha, 'ping beta', /tcp:\/\/beta:9999 (closes the connection at once|differ: both need)/);
    await beta.waitFor(async () => !(await listens()), { what: 'the port to close' });
    assert.match(
      await said(beta),
      /^key file \/etc\/wormhole\/key\.secret has mode 0644, so other users can read it: chmod 600 \S+; TCP stays closed until then/m,
    );
    await fails(alpha, 'ping beta', /no daemon at tcp:\/\/beta:9999, the connection is refused/);
    await succeeds(beta, 'ping');
    await daemonEnds(beta);
    // The socket is not left in a loop, nor failed.
    assert.is(await beta.failedUnits(), '');
    await beta.run(`chmod 600 ${KEY_FILE}`);
    await beta.waitFor(listens, { what: 'the port to open' });
    await succeeds(alpha, 'ping beta');

    await daemonEnds(beta);
    await beta.run(`mv ${KEY_FILE} /root/kept; systemctl restart wormholed-tcp.socket`, { check: false });
    assert.not(await listens());
    await beta.reboot();
    assert.not(await listens(), 'nor after a reboot');
    await succeeds(beta, 'ping');
    // Although the daemon runs.
    await beta.run(`mv /root/kept ${KEY_FILE}`);
    await beta.waitFor(listens, { what: 'the port to open' });
    await succeeds(alpha, 'ping beta');
    assert.is(await beta.failedUnits(), '');
  });
});
