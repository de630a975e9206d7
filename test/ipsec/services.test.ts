import * as assert from 'uvu/assert';
import { vmSuite } from './suite.ts';
import { ESP, MARKER, PATIENCE, pair, wormhole } from './tunnels.ts';

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
});
