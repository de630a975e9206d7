import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { chooseSeeds } from './fidelity-seeds.ts';
import { closeAll, launch } from './forwarder-launch.ts';
import { createServer, LOOPBACK_MTU, play, type Trouble } from './forwarder-udp-fidelity-run.ts';
import { createScript, describeScript } from './forwarder-udp-fidelity-script.ts';

/*
 * Datagrams through the forwarder arrive as they do directly. Random scripts are played at the same time, directly and through the
 * forwarder.
 *
 *   WORMHOLE_FIDELITY=SEED        plays the script of this seed only
 *   WORMHOLE_FIDELITY=SEED:COUNT  plays the scripts of the seeds SEED, SEED + 1, …, AT_ONCE at a time
 */

test.after.each(closeAll);

/** Scripts played at the same time. */
const AT_ONCE = 300;

/** How long a step may take on a busy machine, ms. */
const STEP_TIMEOUT_MS = 30_000;

const mtu = Number(process.env[LOOPBACK_MTU] ?? 65_536);

const seeds = chooseSeeds(AT_ONCE / 2);

/** Plays all scripts through what `listen` starts in front of a port. */
async function playAll(
  listen: (target: number) => Promise<{ port: number; hosts: readonly string[] }>,
): Promise<void> {
  const server = createServer();
  const called = await listen(server.port);
  const troubles: Trouble[] = [];
  for (let at = 0; at < seeds.length; at += AT_ONCE) {
    const scripts = seeds.slice(at, at + AT_ONCE).map(createScript);
    troubles.push(...play(scripts, { server, ...called, timeout: STEP_TIMEOUT_MS, mtu }));
  }
  const stories = troubles.map(
    ({ seed, what }) => `${what}\n  ${describeScript(createScript(seed))}\n  WORMHOLE_FIDELITY=${seed}`,
  );
  assert.is(
    troubles.length,
    0,
    `${troubles.length} of ${seeds.length} scripts:\n${stories.slice(0, 10).join('\n')}`,
  );
}

test(`the datagrams of ${seeds.length} random scripts arrive directly`, () =>
  playAll(async (target) => ({ port: target, hosts: ['127.0.0.1'] })));

test(`the datagrams of ${seeds.length} random scripts arrive through the forwarder as they do directly`, () =>
  playAll(async (target) => {
    const { port } = await launch({
      to: target,
      listeners: 0,
      datagrams: 1,
      args: ['--idle', '0', '--dial-timeout', '300'],
    });
    return { port, hosts: ['127.0.0.1'] };
  }));

test(`the datagrams of ${seeds.length} random scripts arrive through a head on all addresses as they do directly`, () =>
  playAll(async (target) => {
    const { port } = await launch({
      to: target,
      host: '0.0.0.0',
      listeners: 0,
      datagrams: 1,
      args: ['--idle', '0', '--dial-timeout', '300'],
    });
    return { port, hosts: ['127.0.0.1', '127.0.0.9', '127.1.2.3'] };
  }));

test.run();
