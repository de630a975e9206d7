import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { settle } from './agreement.ts';
import type { Vm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { create, PATIENCE, pair, traces, transfer, warm, wormhole } from './tunnels.ts';

/** A process of the command line, as pkill(1) finds it but not itself. */
const PROGRAM = '[d]ist/(cli/main.js|wormhole.cjs)';

vmSuite('tunnels whose commands are killed', pair, (test, at) => {
  test('killed when one machine has the tunnel for good, and the other one not yet: the next command has it mended', async () => {
    const { alpha, beta } = at();
    await warm(alpha, beta);
    const unit = '/etc/systemd/system/wormhole-tunnel@beta.service';
    await alpha.run(
      `wormhole tunnel-create beta & until [ -e ${unit} ]; do sleep 0.02; done; kill -9 $!; test -e ${unit}`,
      { timeout: PATIENCE },
    );
    assert.is(await settle('the kill', alpha, beta), 'a tunnel');
    await alpha.waitFor(() => alpha.run('systemctl is-active wormhole-tunnel@beta'), { what: 'its unit' });
    await wormhole(alpha, 'tunnel-delete beta');
    assert.is(await settle('the delete', alpha, beta), 'no tunnel');
  });

  test('killed when the unit file is removed, and systemd not yet told: the next delete leaves no unit', async () => {
    const { alpha, beta } = at();
    await warm(alpha, beta);
    await create(alpha, 'beta');
    const [unit = ''] = (await beta.run('cd /etc/systemd/system && ls -d wormhole-tunnel@*')).stdout.split(
      '\n',
    );
    await beta.waitFor(() => beta.run(`systemctl is-active '${unit}'`), { what: 'its unit' });
    // Any command may have had systemd read that multi-user.target wants the unit, which stays loaded until it reads again.
    await beta.run('systemctl daemon-reload');
    // What a removal has done when it is killed at that moment.
    await beta.run(`cd /etc/systemd/system && rm '${unit}' 'multi-user.target.wants/${unit}'`);
    await wormhole(alpha, 'tunnel-delete beta');
    assert.is(await traces(beta), '');
    assert.is(await settle('the delete', alpha, beta), 'no tunnel');
  });

  test('a unit that cannot be read for a while: what renews the keys of its tunnel goes on', async () => {
    const { alpha, beta } = at();
    await warm(alpha, beta);
    await create(alpha, 'beta');
    const unit = '/etc/systemd/system/wormhole-tunnel@beta.service';
    const timer = 'systemctl is-active wormhole-tunnel-rekey@beta.timer';
    await alpha.waitFor(() => alpha.run(timer), { what: 'the timer' });
    await alpha.run(`cp ${unit} /root/unit; sed -i /^Mode=/d ${unit}`);
    await alpha.run('wormhole tunnel-list', { check: false });
    await alpha.run(`cp /root/unit ${unit}`);
    await alpha.run(timer);
    await wormhole(alpha, 'tunnel-delete beta');
    assert.is(await settle('the delete', alpha, beta), 'no tunnel');
  });

  test('twelve times killed at any moment, on either side: a tunnel that works or none, as tunnel-list says', async () => {
    const { alpha, beta } = at();
    await warm(alpha, beta);
    // What each command took when it was last left alone, ms: it is killed at any moment of that.
    const usual: Record<string, number> = {};
    const begin = (command: string) => {
      const began = Date.now();
      const { exited } = alpha.spawn(`wormhole tunnel-${command}`);
      return exited.then(({ status }) => {
        if (status === 0) usual[command] = Date.now() - began;
        return status;
      });
    };
    for (const command of ['create beta', 'rekey --now beta', 'delete beta'])
      assert.is(await begin(command), 0, command);
    const commands = ['rekey --now beta', 'delete beta'];
    const unit = '/etc/systemd/system/wormhole-tunnel@beta.service';
    const victims: [() => Vm, string][] = [
      [() => alpha, `pkill -9 -f "${PROGRAM} tunnel"`],
      [() => beta, 'systemctl kill -s KILL wormholed'],
    ];
    let hits = 0;
    for (let round = 0; round < 12; round++) {
      const there = (await alpha.run(`test -e ${unit}`, { check: false })).status === 0;
      const command = (there ? commands[Math.floor(round / victims.length) % 2] : undefined) ?? 'create beta';
      const ms = Math.random() * (usual[command] ?? 0);
      const victim = round % victims.length;
      const [on, kill] = victims[victim] as (typeof victims)[number];
      const ended = begin(command);
      await Promise.race([sleep(ms), ended]);
      const killed = (await on().run(kill, { check: false, timeout: PATIENCE })).status === 0;
      if (killed) hits++;
      // The command may wait for what is dead: then it is killed as well.
      const patience = setTimeout(
        () => alpha.run(`pkill -9 -f "${PROGRAM} tunnel"`, { check: false }),
        20_000,
      );
      const status = await ended;
      clearTimeout(patience);
      const what = `round ${round}: ${command}, after ${(ms / 1000).toFixed(1)} s kill ${victim + 1} on ${on().name}${killed ? '' : ', which met nothing'}, ended with ${status}`;
      console.log(what);
      // What a killed side has begun is found by the next command, or ends after a minute: looked at after six rounds.
      if (round % 6 === 5) await settle(what, alpha, beta);
    }
    assert.ok(hits >= 6, `only ${hits} of 12 kills met something`);
    await warm(alpha, beta);
    const [, far] = await create(alpha, 'beta');
    await transfer(alpha, beta, far);
    await wormhole(alpha, 'tunnel-delete beta');
    assert.is(await settle('the delete', alpha, beta), 'no tunnel');
  });
});
