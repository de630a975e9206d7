import * as assert from 'uvu/assert';
import type { Outcome } from './attack.ts';
import { cluster, said } from './cluster.ts';
import { leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { SLOWNESS } from './rig/shell.ts';
import { labSuite } from './suite.ts';

labSuite('hostile callers of wormholed', cluster, (test, at) => {
  test('what does not speak TLS 1.3 with the key is refused, with one line for a flood of it', async () => {
    const { alpha, beta } = at();
    const attempts = [
      'curl -sS -m 10 http://beta:9999/v1/ping',
      'curl -sSk -m 10 https://beta:9999/v1/ping',
      'curl -sSk -m 10 --tlsv1.2 --tls-max 1.2 https://beta:9999/v1/ping',
      shakeHands('minVersion: "TLSv1.3"'),
      shakeHands(`minVersion: "TLSv1.3", ciphers: "TLS_AES_128_GCM_SHA256:PSK", ${WRONG}`),
      shakeHands(`maxVersion: "TLSv1.2", ciphers: "ECDHE-PSK-CHACHA20-POLY1305", ${WRONG}`),
      shakeHands('minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0"'),
    ];
    // A daemon that starts again would begin to count again.
    await beta.run('sed -i s/--idle=10/--idle=600/ /etc/wormhole/wormholed.conf; systemctl stop wormholed');
    await said(beta);
    const began = Date.now();
    for (const attempt of attempts) {
      const { stdout, status } = await alpha.run(attempt, { check: false });
      assert.ok(status > 0 && status < 126, `${attempt}: ${status}`);
      assert.not.match(stdout, /HTTP|v1|error/, attempt);
    }
    for (let n = 0; n < 30; n++)
      await alpha.run('head -c 3000 /dev/urandom | nc -N -w 2 beta 9999', { check: false });
    let text = '';
    const summed = async () => {
      text += await said(beta);
      return text.trim().split('\n').length >= 2;
    };
    await beta.waitFor(summed, { what: 'the line that sums up the refusals' });
    const lines = text.trim().split('\n');
    // One at once, and one for all the others each ten seconds.
    assert.ok(lines.length <= 2 + (Date.now() - began) / 10_000, lines.join('\n'));
    assert.match(lines[0] ?? '', new RegExp(`^refused (${alpha.address}|${alpha.address6}), which `));
    assert.match(lines[1] ?? '', /^refused \d+ more in 10 s: /);
    await succeeds(alpha, 'ping beta');
  });

  test('1,000 half-open connections, slow callers and endless bodies: good clients are served, memory is bounded', async () => {
    const { alpha, beta, gamma } = at();
    // A daemon that has told of refusals only counts those of the next 10 s.
    await beta.run('systemctl stop wormholed');
    await succeeds(alpha, 'ping beta');
    await said(beta);
    const began = Date.now();
    const [daemon, before] = [await pid(beta), await memory(beta)];
    const attack = gamma.spawn(
      'ulimit -n 8192; cd /src/wormhole; node --import tsx test/lab/attack.ts beta /etc/wormhole/key.secret',
    );
    await gamma.waitFor(() => attack.stdout().includes('open\n'), { timeout: 30, what: 'the attack' });
    // From elsewhere, and from the very address of the attack.
    for (let n = 0; n < 5; n++) {
      for (const host of [alpha, gamma]) await succeeds(host, 'ping beta');
      await succeeds(alpha, `-H tcp://beta create id good url :4300 tail url :1`);
      await succeeds(alpha, '-H tcp://beta delete good');
    }
    const { stdout, stderr } = await attack.exited;
    const told: Outcome = JSON.parse(stdout.split('\n').at(-2) ?? '');
    console.log(JSON.stringify({ ...told, before, after: await memory(beta) }));
    assert.is(stderr, '');
    assert.is(told.halfOpen, 1000);
    // All half-open ones were ended, most of them at once, the others by the time a handshake may take.
    assert.is(told.halfOpenLeft, 0);
    // A caller that is busy begins to count a little late.
    assert.ok(
      told.trickledHeaders > 1 && told.trickledHeaders < 9 * SLOWNESS,
      `headers: ${told.trickledHeaders} s`,
    );
    assert.ok(told.trickledBody > 5 && told.trickledBody < 14 * SLOWNESS, `body: ${told.trickledBody} s`);
    assert.ok(
      told.silentAfterTls > 1 && told.silentAfterTls < 9 * SLOWNESS,
      `silent: ${told.silentAfterTls} s`,
    );
    assert.is(told.declared, 413);
    assert.ok(told.endless < 16, `${told.endless} MB of an endless body were taken`);
    assert.ok((await memory(beta)) < before + 80_000, `${before} KiB -> ${await memory(beta)} KiB`);
    assert.is(await pid(beta), daemon, 'it is the same daemon');
    let lines = '';
    const summed = async () => {
      lines += await said(beta);
      return /^refused \d{3,} more in 10 s: .*\(\d{3}/m.test(lines);
    };
    await beta.waitFor(summed, { timeout: 20, what: 'the line that sums up the refusals' });
    const refusals = lines.match(/^refused .*/gm) ?? [];
    assert.ok(refusals.length <= 2 + (Date.now() - began) / 10_000, refusals.join('\n'));
    assert.match(refusals[0] ?? '', new RegExp(`^refused (${gamma.address}|${gamma.address6}), which `));
    await leavesNothing(beta);
  });
});

const WRONG =
  'pskCallback: () => ({ psk: Buffer.alloc(32), identity: "wormhole" }), checkServerIdentity: () => {}';

/** A command that makes a handshake with beta, and fails when that does. */
function shakeHands(options: string): string {
  const settings = `{ host: "beta", port: 9999, rejectUnauthorized: false, ${options} }`;
  return `node -e 'require("tls").connect(${settings}, () => process.exit()).on("error", () => process.exit(1))'`;
}

async function pid(host: Host): Promise<number> {
  return Number((await host.run('systemctl show -P MainPID wormholed.service')).stdout);
}

/** The most memory that the daemon has had resident so far, in KiB. */
async function memory(host: Host): Promise<number> {
  return Number((await host.run(`grep VmHWM /proc/${await pid(host)}/status | tr -dc 0-9`)).stdout);
}
