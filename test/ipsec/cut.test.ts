import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { hears, linkThroughTunnel, settle } from './agreement.ts';
import type { Vm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { create, pair } from './tunnels.ts';

vmSuite('a tunnel whose wire is cut', pair, (test, at) => {
  test('the wire is cut for a minute: what was under way goes on, and no byte is lost', async () => {
    const { alpha, beta } = at();
    await linkThroughTunnel(alpha, beta);
    const [, remote] = await create(alpha, 'beta');
    const receiver = beta.spawn(`socat -u TCP-LISTEN:9002,bind=${remote} OPEN:/root/got,creat,trunc`);
    await beta.waitFor(() => beta.run('ss -Hltn sport = 9002 | grep .'), { what: 'the receiver' });
    const sender = alpha.spawn(
      `rm -f sent stop; until [ -e stop ]; do head -c 20000 /dev/urandom | tee -a sent; sleep 0.5; done | socat -u - TCP:${remote}:9002`,
    );
    const size = async () => Number((await beta.run('stat -c %s got')).stdout);
    await beta.waitFor(async () => (await size()) > 0, { what: 'the first bytes' });
    await beta.setCable('down');
    await sleep(2_000);
    const before = await size();
    await sleep(58_000);
    assert.is(await size(), before);
    await beta.setCable('up');
    await beta.waitFor(async () => (await size()) > before, { what: 'the transfer to go on', timeout: 150 });
    await alpha.run('touch stop');
    assert.is((await sender.exited).status, 0);
    assert.is((await receiver.exited).status, 0);
    const sum = async (vm: Vm, file: string) => (await vm.run(`sha256sum < ${file}`)).stdout;
    assert.is(await sum(alpha, 'sent'), await sum(beta, 'got'));
    await hears(alpha, 'the cut');
    assert.is(await settle('the cut', alpha, beta), 'a tunnel');
  });
});
