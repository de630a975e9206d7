import * as assert from 'uvu/assert';
import type { ListedLink } from '../../src/api/listing-schema.js';
import { writeKey } from './cluster.ts';
import { fails, installedHost, succeeds, wormhole } from './installed.ts';
import { allGone, greeter, hears, type Pair } from './pair.ts';
import { labSuite } from './suite.ts';

/* Links of one machine and of two, in tables and as graphs. */

labSuite<Pair>(
  'list and graph',
  async () => {
    const near = await installedHost({ name: 'near', packages: ['graphviz', 'librsvg2-bin'] });
    const myserver = await installedHost({ name: 'myserver' });
    await writeKey(myserver, (await near.run('cat /etc/wormhole/key.secret')).stdout);
    return { near, myserver };
  },
  (test, at) => {
    test('list selects, and --wide tells what has flowed', async () => {
      const { near, myserver } = at();
      await greeter(myserver, 'greeter', 7000, 'hello');
      await near.run('docker run -d --name app --network none wormhole/tools sleep infinity');
      await succeeds(near, 'create id away url :4000 remote myserver tail url :7000');
      await succeeds(near, 'create id inside url :4001 docker-ns app tail url :4100');
      await succeeds(near, 'create id dead url :4002 tail url :4101');
      assert.is(await hears(near, 4000), 'hello\n');
      await near.run('nc 127.0.0.1 4002 </dev/null', { check: false });
      const ids = async (options: string) =>
        JSON.parse(await succeeds(near, `list --json ${options}`)).map(({ id }: ListedLink) => id);
      assert.equal(await ids(''), ['away', 'dead', 'inside']);
      assert.equal(await ids('--state failing --state waiting'), ['dead']);
      assert.equal(await ids('--machine myserver'), ['away']);
      assert.equal(await ids('--container app'), ['inside']);
      assert.match(
        await succeeds(near, 'list --wide'),
        /^ID +HEAD +TAIL +SESSIONS +FROM CLIENTS +FROM TARGET +STATE +RECIPE\n(?:.*\n)*away +tcp:\/\/127\.0\.0\.1:4000 +tcp:\S+ on machine myserver +1 +0 B +6 B +connected .* id away url tcp:/,
      );
      await fails(near, 'list --state nice', /--state "nice" is none of listening, connected/, 2);
      await fails(near, 'list --json --watch', /--json and --watch contradict each other/, 2);
    });

    test('--watch prints again until it is interrupted, or nobody reads', async () => {
      const { near } = at();
      const watch = near.spawn('wormhole list --watch');
      await near.waitFor(() => (watch.stdout().match(/^ID +HEAD/gm)?.length ?? 0) >= 2, {
        what: 'the second table',
      });
      const { stdout } = await watch.stop();
      assert.not.ok(stdout.includes('\u001b'));
      await near.run('timeout 30 wormhole list --watch | head -1');
    });

    test('several machines are listed at once, and one that is away hides no other', async () => {
      const { near, myserver } = at();
      const text = await succeeds(near, '-H unix:///run/wormhole.sock -H myserver list');
      assert.match(text, /^MACHINE +ID +HEAD/);
      assert.match(text, /^near +away +tcp/m);
      assert.match(text, /^myserver +near-away \(for away of near\) +tcp/m);
      const links = JSON.parse(await succeeds(near, '-H near -H tcp://myserver:9999 list --json'));
      assert.equal(
        links.map(({ machine, id }: ListedLink & { machine: string }) => `${machine} ${id}`),
        ['near away', 'near dead', 'near inside', 'myserver near-away'],
      );
      await myserver.run('systemctl stop wormholed-tcp.socket wormholed.service');
      const { stdout, stderr, status } = await wormhole(near, '-H near -H myserver list');
      await myserver.run('systemctl start wormholed-tcp.socket');
      assert.match(stdout, /^MACHINE +ID +HEAD.*\n(?:.*\n)*near +away /);
      assert.match(stderr, /^wormhole: myserver: [^\n]*refused[^\n]*\n$/);
      assert.is(status, 1);
      await fails(
        near,
        '-H near -H myserver delete away',
        /-H "myserver": this command takes one machine/,
        2,
      );
    });

    test('a graph has each link once, and leads on to the part on the other machine', async () => {
      const { near } = at();
      const mermaid = await succeeds(near, '-H near -H myserver graph');
      assert.match(mermaid, /^flowchart LR\n {2}subgraph m0\["machine near"\]\n/);
      const node = (url: string) =>
        mermaid
          .split('\n')
          .find((line) => line.endsWith(`["${url}"]`))
          ?.trim()
          .split('[')[0] ?? 'none';
      const links: ListedLink[] = JSON.parse(await succeeds(near, 'list --json'));
      const part = node(links.find(({ id }) => id === 'away')?.tail.url ?? '');
      const edge = (from: string, label: string, to: string) =>
        assert.match(mermaid, new RegExp(`^  ${from} -->\\|"${label}[^"]*"\\| ${to}$`, 'm'));
      edge(node('tcp://127.0.0.1:4000'), 'away', part);
      edge(part, 'near-away', node('tcp://127.0.0.1:7000'));
      assert.is(mermaid.match(/-->/g)?.length, 4);
      await fails(near, 'graph --format png', /--format "png" is none of mermaid, dot, svg/, 2);
    });

    test('Graphviz reads the one, and an SVG renderer the other', async () => {
      const { near } = at();
      const { stdout } = await near.run('wormhole graph --format dot | dot -Tplain');
      const lines = (kind: string) => stdout.split('\n').filter((line) => line.startsWith(`${kind} `));
      assert.equal([lines('node').length, lines('edge').length], [6, 3]);
      await near.run(
        'wormhole graph --format svg > /root/links.svg && rsvg-convert /root/links.svg > /root/links.png',
      );
      assert.match((await near.run('head -c 4 /root/links.png | tail -c 3')).stdout, /^PNG$/);
      const svg = (await near.run('cat /root/links.svg')).stdout;
      assert.is(svg.match(/<g class="edge/g)?.length, 3);
    });

    test('neither starts anything', async () => {
      const { near, myserver } = at();
      await succeeds(near, 'create id web url :80 trigger docker-run "wormhole/tools sleep infinity"');
      for (const command of ['list --wide', 'graph', 'graph --format svg', 'show web', 'metrics'])
        await succeeds(near, command);
      assert.is((await near.run('docker ps -aq --filter name=wormhole-web')).stdout, '');
      assert.is(
        (await near.run('systemctl is-active wormhole-web.service', { check: false })).stdout,
        'inactive\n',
      );
      await succeeds(near, 'delete --all');
      await near.run('docker rm -f app');
      await allGone(near, myserver);
    });
  },
);
