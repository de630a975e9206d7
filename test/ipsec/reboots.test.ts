import * as assert from 'uvu/assert';
import { hears, linkThroughTunnel, listed, settle } from './agreement.ts';
import { vmSuite } from './suite.ts';
import { create, PATIENCE, pair, traces, transfer, wormhole } from './tunnels.ts';

vmSuite('tunnels of machines that go away', pair, (test, at) => {
  let remote = '';

  test('a link through a tunnel, for what follows', async () => {
    const { alpha, beta } = at();
    await linkThroughTunnel(alpha, beta);
    [, remote] = await create(alpha, 'beta');
  });

  for (const which of ['the other machine', 'this machine', 'both at once'] as const) {
    test(`${which} reboots: tunnel and link work again with nothing typed, with other keys and the same addresses`, async () => {
      const { alpha, beta } = at();
      const spis = async () =>
        (await alpha.run('ip xfrm state list nokeys | grep -o "spi 0x[0-9a-f]*"')).stdout.trim().split('\n');
      const old = await spis();
      const booting = { 'the other machine': [beta], 'this machine': [alpha], 'both at once': [alpha, beta] };
      await Promise.all(booting[which].map((vm) => vm.reboot({ allowFailed: true })));
      assert.is(await settle('the reboot', alpha, beta), 'a tunnel');
      await hears(alpha, `${which} rebooted`);
      // What has been replaced is received for ten seconds more.
      const fresh = async () => !(await spis()).some((spi) => old.includes(spi));
      await alpha.waitFor(fresh, { timeout: 30, what: 'the old keys to end' });
      await transfer(alpha, beta, remote);
    });
  }

  test('deleted while the other machine is away: it goes there as soon as that is back', async () => {
    const { alpha, beta } = at();
    await wormhole(alpha, 'delete 7000');
    await beta.setCable('down');
    const { stderr } = await alpha.run('wormhole tunnel-delete beta', { timeout: PATIENCE });
    assert.match(
      stderr,
      /^wormhole: the tunnel is deleted here; its side on machine beta is deleted as soon as that machine can be told: .+\n$/,
    );
    assert.match(await wormhole(alpha, 'tunnel-list'), /^beta .* leaving /m);
    await beta.setCable('up');
    await beta.waitFor(async () => (await traces(beta)) === '', { what: 'the end there', timeout: PATIENCE });
    await alpha.waitFor(async () => (await listed(alpha)).length === 0, { what: 'the end here' });
    assert.is(await traces(alpha), '');
  });
});
