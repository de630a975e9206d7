import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { listenRaw, play } from './forwarder-fidelity-run.ts';
import { createScript, describeScript } from './forwarder-fidelity-script.ts';
import { launchKilled } from './forwarder-killed.ts';
import { closeAll, collect, connect, freePort, hear, serve, sleep, until } from './forwarder-launch.ts';

/*
 * Sessions end as direct ones, although the forwarder is killed many times meanwhile, mostly at a certain system call.
 *
 *   WORMHOLE_SURVIVAL=SEED        plays with this seed only
 *   WORMHOLE_SURVIVAL=SEED:COUNT  plays with the seeds SEED, SEED + 1, …
 */

test.after.each(closeAll);

/** Scripts played at the same time. */
const AT_ONCE = 200;

/** Sessions of this age are stored, ms. */
const STORED_MS = 3000;

/** The longest delay between two steps of a script, ms: it lasts for many kills. */
const PAUSE_MS = 1000;

const [first = Date.now() % 1_000_000_000, count = 1] = (process.env.WORMHOLE_SURVIVAL ?? '')
  .split(':')
  .filter(Boolean)
  .map(Number);

for (let seed = first; seed < first + count; seed++) {
  test(`${AT_ONCE} random scripts end as TCP promises, although the forwarder is killed 60 times: WORMHOLE_SURVIVAL=${seed}`, async () => {
    const target = listenRaw();
    const forwarder = await launchKilled(target.port, { seed, kills: 60, begin: 'SIGUSR2', age: STORED_MS });
    const scripts = Array.from({ length: AT_ONCE }, (_, i) => createScript(AT_ONCE * seed + i));
    const troubles = play(scripts, {
      port: forwarder.port,
      listener: target.fd,
      timeout: 120_000,
      age: STORED_MS,
      begun: () => forwarder.kill('SIGUSR2'),
      pause: PAUSE_MS,
    });
    // Its log arrives once play() has returned.
    await sleep(100);
    assert.equal(
      troubles.map(({ seed, what }) => `${what}: ${describeScript(createScript(seed))}`),
      [],
      forwarder.log(),
    );
    forwarder.kill('SIGTERM');
    assert.is(await forwarder.exited, 0, forwarder.log());
    const log = forwarder.log();
    // The scripts last for fewer restarts where Node takes seconds to start.
    assert.ok((log.match(/took over \d+ open session/g)?.length ?? 0) >= 3, log);
    assert.match(log, /killed \d+ times, 0 descriptors in the store/);
    assert.not.match(log, /cannot|died/, log);
  });
}

for (const kills of [0, 8]) {
  test(`a target that starts late serves a client that waits, although the forwarder is killed ${kills} times`, async () => {
    const port = freePort();
    const forwarder = await launchKilled(port, { seed: 1, kills, begin: 'FDSTORE', age: 0 });
    const client = await connect(forwarder.port);
    client.end('hello');
    if (kills > 0) await until(() => /took over 1 open session/.test(forwarder.log()));
    await sleep(2000);
    await serve((socket) => socket.once('data', (data) => socket.end(`${data} to you`)), port);
    const { bytes, how } = await collect(client).catch((error) => {
      throw new Error(`${error.message}: ${forwarder.log()}`);
    });
    assert.is(`${bytes} ${how}`, 'hello to you end', forwarder.log());
    // A new session is not in the store yet: a kill would reset it.
    await until(() => forwarder.log().includes(`killed ${kills} times, now left alone`), 300_000);
    assert.is(await hear(forwarder.port, { say: 'again' }), 'again to you');
  });
}

test.run();
