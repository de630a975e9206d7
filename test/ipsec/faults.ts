import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { randomNumbers } from '../unit/forwarder-fidelity-script.ts';
import { settle } from './agreement.ts';
import { disturbances } from './disturbances.ts';
import { prepareLoad, underLoad } from './load.ts';
import type { Vm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { PATIENCE, pair, wormhole } from './tunnels.ts';

/** WORMHOLE_FAULTS=SEED repeats what a seed has begun with: the sessions, and the moments of what happens to them. */
const firstSeed = Number(process.env.WORMHOLE_FAULTS ?? Date.now() % 1_000_000);

async function loaded() {
  const machines = await pair();
  await prepareLoad(machines.alpha, machines.beta);
  return machines;
}

vmSuite(`a tunnel under load, with seed ${firstSeed}`, loaded, (test, at) => {
  disturbances.forEach(({ name, on, script, setsClock = false }, index) => {
    test(`${name}: no byte is lost, and the tunnel works afterwards`, async () => {
      const { alpha, beta } = at();
      const seed = firstSeed + index;
      const moment = 5_000 * randomNumbers(seed)();
      await underLoad(alpha, seed, async () => {
        await sleep(moment);
        await Promise.all(on.map((which) => at()[which].run(script, { timeout: PATIENCE })));
      });
      await settle(name, alpha, beta);
      // Keys that have been replaced are in use for some seconds only, by whatever clock.
      const spares = async (vm: Vm) =>
        JSON.parse(await wormhole(vm, 'tunnel-list --json'))[0]?.associations.in > 1;
      for (const vm of [alpha, beta])
        await vm.waitFor(async () => !(await spares(vm)), { what: `one key on ${vm.name}` });
      // The clock is right again, which is another jump.
      for (const vm of setsClock ? [alpha, beta] : [])
        await vm.run(`date -s @${Math.round(Date.now() / 1000)} >/dev/null`);
      if (setsClock) await settle(`${name}, and the clocks are right`, alpha, beta);
      assert.is(await alpha.failedUnits(), '');
      assert.is(await beta.failedUnits(), '');
    });
  });
});
