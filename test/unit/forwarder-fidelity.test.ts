import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { chooseSeeds } from './fidelity-seeds.ts';
import { inLine, listenRaw, play, type Trouble } from './forwarder-fidelity-run.ts';
import { createScript, describeScript } from './forwarder-fidelity-script.ts';
import { closeAll, launch, until } from './forwarder-launch.ts';

/*
 * A connection through the forwarder ends as a direct one. Random scripts are played at the same time on a direct
 * connection and on one through the forwarder.
 *
 *   WORMHOLE_FIDELITY=SEED        plays the script of this seed only
 *   WORMHOLE_FIDELITY=SEED:COUNT  plays the scripts of the seeds SEED, SEED + 1, …, AT_ONCE at a time
 */

test.after.each(closeAll);

/** Scripts played at the same time. */
const AT_ONCE = 300;

/** How long a step may take on a busy machine, ms. */
const STEP_TIMEOUT_MS = 30_000;

const seeds = chooseSeeds(AT_ONCE);

function playAll(port: (target: number) => number, listener: { fd: number; port: number }): Trouble[] {
  const troubles: Trouble[] = [];
  for (let at = 0; at < seeds.length; at += AT_ONCE) {
    const scripts = seeds.slice(at, at + AT_ONCE).map(createScript);
    troubles.push(
      ...play(scripts, { port: port(listener.port), listener: listener.fd, timeout: STEP_TIMEOUT_MS }),
    );
  }
  return troubles;
}

function assertNone(troubles: Trouble[]): void {
  const stories = troubles.map(
    ({ seed, what }) => `${what}\n  ${describeScript(createScript(seed))}\n  WORMHOLE_FIDELITY=${seed}`,
  );
  assert.is(
    troubles.length,
    0,
    `${troubles.length} of ${seeds.length} scripts:\n${stories.slice(0, 10).join('\n')}`,
  );
}

test(`${seeds.length} random scripts end as TCP promises on a direct connection`, () => {
  assertNone(playAll((target) => target, listenRaw()));
});

test(`${seeds.length} random scripts end as TCP promises through the forwarder`, async () => {
  const target = listenRaw();
  const forwarder = await launch({ to: target.port, args: ['--idle', '0'], prepare: inLine });
  assertNone(playAll(() => forwarder.port, target));
  await until(() => forwarder.descriptors('socket') === 1);
  assert.is(forwarder.log(), '');
});

test.run();
