import * as assert from 'uvu/assert';
import { vmSuite } from './suite.ts';
import { PATIENCE, pair, wormhole } from './tunnels.ts';

vmSuite('the PROXY protocol through a tunnel', pair, (test, at) => {
  test('the target sees the first client, and not the near end of the tunnel', async () => {
    const { alpha, beta } = at();
    // It answers with the first line that it hears, which is the header.
    await beta.run(
      `systemd-run --unit target socat TCP-LISTEN:7099,bind=127.0.0.1,reuseaddr,fork SYSTEM:'head -n 1'`,
    );
    await wormhole(
      alpha,
      'create --proxy-protocol=v1 --start-timeout 2m id named url 0.0.0.0:7001 tunnel beta tail url :7099',
    );
    const ask = `socat -t 60 - TCP:${alpha.address}:7001,sourceport=40123 </dev/null`;
    const { stdout } = await beta.run(ask, { timeout: PATIENCE });
    assert.is(stdout, `PROXY TCP4 ${beta.address} ${alpha.address} 40123 7001\r\n`);
    await wormhole(alpha, 'delete named');
    await wormhole(alpha, 'tunnel-delete beta');
  });
});
