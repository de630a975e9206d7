import * as assert from 'uvu/assert';
import { vmSuite } from './suite.ts';
import { ESP, MARKER, PATIENCE, pair, traces, wormhole } from './tunnels.ts';

vmSuite('a service through a tunnel', pair, (test, at) => {
  test('what a machine publishes is reached through ESP, and goes with the link', async () => {
    const { alpha, beta } = at();
    await beta.run(
      `systemd-run -q --unit server socat TCP-LISTEN:7000,bind=127.0.0.1,reuseaddr,fork EXEC:'echo ${MARKER}'`,
    );
    await wormhole(beta, 'publish db tail url :7000');
    await alpha.run('mkdir -p /etc/wormhole/services.d; echo beta >/etc/wormhole/services.d/db');
    assert.is(await wormhole(alpha, 'create url :5432 tunnel service:db'), '5432 tcp://127.0.0.1:5432');

    const before = alpha.frames().length;
    const heard = await alpha.run('socat -t 60 - TCP:127.0.0.1:5432 </dev/null', { timeout: PATIENCE });
    assert.is(heard.stdout, `${MARKER}\n`);
    const crossed = alpha.frames().slice(before);
    assert.ok(crossed.some(({ protocol }) => protocol === ESP));
    assert.not.ok(crossed.some(({ bytes }) => bytes.includes(MARKER)));

    const [tunnel] = JSON.parse(await wormhole(alpha, 'tunnel-list --json'));
    const [part] = JSON.parse(await wormhole(beta, 'list --json'));
    assert.match(part.head.url, new RegExp(`^tcp://${tunnel.remote}:`));
    await wormhole(alpha, 'delete 5432');
    assert.is(await wormhole(beta, 'list --json'), '[]');
  });

  test('a tunnel and its link from files: made, left alone, changed to ESP in UDP, exported, deleted', async () => {
    const { alpha, beta } = at();
    const write = (name: string, text: string) =>
      alpha.run(`tee /etc/wormhole/links.d/${name}.wormhole`, { input: text });
    const port = 7000;
    await write('beta', '[Tunnel]\nHost=beta\n');
    await write('db', `[Link]\nRecipe=url :5433 tunnel beta tail url :${port}\n`);
    await wormhole(alpha, 'tunnel-delete beta');
    const made = await wormhole(alpha, 'apply');
    assert.match(made, /^created the tunnel to beta .*$/m);
    assert.match(made, /^created link db tcp:\/\/127\.0\.0\.1:5433$/m);
    const answers = async () =>
      (await alpha.run('socat -t 60 - TCP:127.0.0.1:5433 </dev/null', { timeout: PATIENCE })).stdout;
    const before = alpha.frames().length;
    assert.is(await answers(), `${MARKER}\n`);
    const crossed = alpha.frames().slice(before);
    assert.ok(crossed.some(({ protocol }) => protocol === ESP));
    assert.not.ok(crossed.some(({ bytes }) => bytes.includes(MARKER)));

    const standing = await traces(alpha);
    assert.is(await wormhole(alpha, 'apply --prune'), '');
    assert.is(await traces(alpha), standing);

    await wormhole(alpha, 'export -o /root/files');
    await write('beta', '[Tunnel]\nHost=beta\nUdp=yes\n');
    const refused = await alpha.run('wormhole apply', { check: false, timeout: PATIENCE });
    assert.is(refused.status, 1);
    assert.match(
      refused.stderr,
      /^wormhole: \/etc\/wormhole\/links\.d\/beta\.wormhole:2: [^\n]*\bdb\b[^\n]*\n$/,
    );
    assert.is(await traces(alpha), standing);
    await alpha.run('rm /etc/wormhole/links.d/db.wormhole');
    const changed = await wormhole(alpha, 'apply --prune');
    assert.match(changed, /^deleted link db: /m);
    assert.match(changed, /^changed the tunnel to beta$/m);
    assert.match(await traces(alpha), /encap type espinudp/);

    await alpha.run('rm /etc/wormhole/links.d/*.wormhole && wormhole apply --prune', { timeout: PATIENCE });
    assert.is(await traces(alpha), '');
    await alpha.run('cp /root/files/* /etc/wormhole/links.d/');
    await wormhole(alpha, 'apply');
    assert.is(await answers(), `${MARKER}\n`);
    await alpha.run('rm /etc/wormhole/links.d/*.wormhole');
    // A file that was renamed and broken at once may describe what no other file does any more.
    await write('other', '[Tunnel]\nHost=\n');
    const kept = await alpha.run('wormhole apply --prune', { check: false, timeout: PATIENCE });
    assert.is(kept.status, 1);
    assert.match(kept.stderr, /^wormhole: [^\n]*other\.wormhole:1: Host= is missing[^\n]*\n/m);
    assert.match(
      `${kept.stdout}${kept.stderr}`,
      /link "db" is kept: [^\n]*db\.wormhole no longer describes it/,
    );
    assert.match(
      `${kept.stdout}${kept.stderr}`,
      /the tunnel to beta stays, although [^\n]*beta\.wormhole describes it no longer, since [^\n]*other\.wormhole may/,
    );
    assert.is(await answers(), `${MARKER}\n`);
    await alpha.run('rm /etc/wormhole/links.d/other.wormhole');
    const gone = await wormhole(alpha, 'apply --prune');
    assert.match(gone, /^deleted link db: /m);
    assert.match(gone, /^deleted the tunnel to beta: /m);
    assert.is(await traces(alpha), '');
    assert.is(await traces(beta), '');
    assert.is(await wormhole(beta, 'list --json'), '[]');
  });
});
