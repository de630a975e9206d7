import * as assert from 'uvu/assert';
import { fails, succeeds } from './installed.ts';
import { allGone, farSaid, hears, type Pair, pair, partOn } from './pair.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

const SERVER = 'wormhole/tools socat TCP-LISTEN:7000,fork,reuseaddr SYSTEM:"hostname"';

/** Starts a server that answers with its container's id, and returns that id. */
async function start(host: Host, name: string): Promise<string> {
  return (await host.run(`docker run -d --network none --name ${name} ${SERVER}`)).stdout.trim();
}

/** Takes the far part away behind the back of the machine that has the link. */
async function lose({ near, myserver }: Pair): Promise<void> {
  await succeeds(myserver, `delete ${(await partOn(myserver)).id}`);
  await near.run('systemctl stop wormhole-7000.service');
}

labSuite<Pair>('names of containers on another machine', pair, (test, at) => {
  test('a part that was lost is made again for a whole id, and not for its beginning', async () => {
    const { near, myserver } = at();
    const id = await start(myserver, 'db');
    const answer = `${id.slice(0, 12)}\n`;
    await succeeds(near, `create url :7000 remote myserver tail docker-ns ${id}`);
    assert.is(await hears(near, 7000), answer);
    await lose(at());
    assert.is(await hears(near, 7000), answer, 'a whole id means the same container for ever');
    await succeeds(near, 'delete 7000');

    const prefix = id.slice(0, 4);
    await succeeds(near, `create url :7000 remote myserver tail docker-ns ${prefix}`);
    assert.is(await hears(near, 7000), answer, 'at create the beginning of an id may be typed');
    await lose(at());
    await farSaid(near);
    assert.is(await hears(near, 7000), '');
    assert.match(
      await farSaid(near),
      new RegExp(`machine myserver cannot create its part: .*no container "${prefix}"`),
    );
    await succeeds(near, 'delete 7000');
    await allGone(near, myserver);
  });

  test('what a connection creates there has to be named exactly', async () => {
    const { near, myserver } = at();
    const id = (await myserver.run("docker inspect -f '{{.Id}}' db")).stdout.trim();
    for (const [name, works] of [
      [id.slice(0, 4), false],
      ['db', true],
      [id, true],
    ] as const) {
      await succeeds(near, `create url :7000 trigger remote myserver tail docker-ns ${name}`);
      assert.is(await hears(near, 7000), works ? `${id.slice(0, 12)}\n` : '', name);
      await succeeds(near, 'delete 7000');
      await allGone(near, myserver);
    }
    await fails(
      near,
      'create url :7000 remote myserver tail docker-ns nobody',
      /machine myserver: .*no container "nobody"/,
    );
  });
});
