import * as assert from 'uvu/assert';
import type { Answers } from '../hostile-peer.ts';
import { fails, leavesNothing, succeeds, traces, wormhole } from './installed.ts';
import { hears } from './pair.ts';
import type { Running } from './rig/shell.ts';
import { labSuite } from './suite.ts';
import { everything, idOf, type Three, three } from './three.ts';

/** What a machine says of a part that it was asked for, and what is said of that. */
const lies: [what: string, recipe: string, answer: Answers[string], expected: RegExp][] = [
  [
    'this machine',
    'tail url :1',
    [200, { id: 'a', url: 'tcp://127.0.0.1:0' }],
    /its part is at "tcp:\/\/127\.0\.0\.1:0"/,
  ],
  [
    'another host',
    'url HOST tail url :1',
    [200, { id: 'a', url: 'tcp://127.0.0.1:6379' }],
    /it says that its part is at "tcp:\/\/127\.0\.0\.1:6379", and was asked for tcp:\/\/HOST/,
  ],
  [
    'another port',
    'url HOST:80 tail url :1',
    [200, { id: 'a', url: 'tcp://HOST:81' }],
    /was asked for tcp:\/\/HOST:80/,
  ],
  ['a port that is none', 'tail url :1', [200, { id: 'a', url: 'tcp://HOST:65536' }], /its part is at/],
  ['no port', 'tail url :1', [200, { id: 'a', url: 'tcp://HOST' }], /its part is at/],
  ['no host', 'tail url :1', [200, { id: 'a', url: 'tcp://:80' }], /its part is at/],
  ['another protocol', 'tail url :1', [200, { id: 'a', url: 'udp://HOST:80' }], /its part is at/],
  ['a name', 'tail url :1', [200, { id: 'a', url: 'tcp://evil.example:80' }], /its part is at/],
  ['a line break', 'tail url :1', [200, { id: 'a', url: 'tcp://HOST:80\n127.0.0.1:6379' }], /its part is at/],
  ['a reason', 'tail url :1', [200, { id: 'a', url: '! nothing' }], /its part is at "! nothing"/],
  ['no url', 'tail url :1', [200, { id: 'a' }], /the answer makes no sense: "url"/],
  ['a number', 'tail url :1', [200, { id: 'a', url: 80 }], /the answer makes no sense: "url"/],
  ['a list', 'tail url :1', [200, []], /the answer makes no sense/],
  ['nothing', 'tail url :1', [204, null], /the answer makes no sense/],
  ['null', 'tail url :1', [200, null], /the answer makes no sense/],
  ['an odd error', 'tail url :1', [500, { oops: 1 }], /gives an answer \(500\) that is not from wormholed/],
  [
    'a coloured error',
    'tail url :1',
    [500, { error: { code: 'failed', message: '\u001b[31mred\u001b[0m\nand more' } }],
    /machine third: \ufffd\[31mred\ufffd\[0m\ufffdand more/,
  ],
  [
    'an unknown code',
    'tail url :1',
    [418, { error: { code: 'teapot', message: 'short and stout' } }],
    /machine third: short and stout/,
  ],
];

labSuite<Three & { liar: Running; host: string }>(
  'a machine that lies',
  async () => {
    const hosts = await three();
    const { near, third } = hosts;
    await third.run(
      'systemctl disable --now wormholed-tcp.socket; systemctl stop wormholed.service; echo {} >/tmp/answers',
    );
    const liar = third.spawn(
      'cd /src/wormhole; exec node --import tsx test/hostile-peer.ts /etc/wormhole/key.secret /tmp/answers',
    );
    let hasEnded = false;
    liar.exited.then(() => {
      hasEnded = true;
    });
    await third.waitFor(() => hasEnded || liar.stdout().includes('listening'), { what: 'the liar' });
    assert.not.ok(hasEnded, liar.stderr());
    // So that the first lie is not the first that is heard of it.
    await third.run(`echo '{"GET /v1/ping": [200, {"machine": "third"}]}' >/tmp/answers`);
    await succeeds(near, 'ping third');
    const host = (await near.run("getent ahosts third | awk 'NR == 1 { print $1 }'")).stdout.trim();
    return { ...hosts, liar, host: host.includes(':') ? `[${host}]` : host };
  },
  (test, at) => {
    const answersWith = async (answers: Answers) =>
      at().third.run('cat >/tmp/answers.new && mv /tmp/answers.new /tmp/answers', {
        input: JSON.stringify({
          'DELETE /v1/parts/': [204, null],
          'GET /v1/version': [200, { version: '0.1.0', api: 1 }],
          ...answers,
        }).replaceAll('HOST', at().host),
      });

    for (const [what, recipe, answer, expected] of lies) {
      test(`where its part is: ${what}`, async () => {
        const { near, host } = at();
        await answersWith({ 'PUT /v1/parts/': answer });
        const before = await everything(near);
        const pattern = expected.source.replaceAll('HOST', host.replace(/[.[\]]/g, '\\$&'));
        await fails(
          near,
          `create url :7100 remote third ${recipe.replace('HOST', host)}`,
          new RegExp(pattern),
        );
        assert.is(await everything(near), before);
        await leavesNothing(near);
      });
    }

    test('the same lies to a link that exists: it leads nowhere, and its clients are closed', async () => {
      const { near, host } = at();
      await near.run('systemd-run --unit own socat TCP-LISTEN:6379,fork,reuseaddr EXEC:"echo own"');
      await answersWith({ 'PUT /v1/parts/': [200, { id: 'a', url: `tcp://${host}:1` }] });
      await succeeds(near, `create url :7101 remote third url ${host} tail url :1`);
      const units = (await near.run('cat /etc/systemd/system/wormhole-7101.*')).stdout;
      for (const url of ['tcp://127.0.0.1:6379', 'tcp://127.0.0.53:6379', 'tcp://169.254.169.254:80']) {
        await answersWith({ 'PUT /v1/parts/': [200, { id: 'a', url }] });
        await near.run('systemctl stop wormhole-7101.service; rm -f /run/wormhole/links/7101/far');
        assert.is(await hears(near, 7101), '');
        assert.match(
          (await near.run('cat /run/wormhole/links/7101/far')).stdout,
          /^! machine third: it says that its part is at "[^\n]*: nothing leads there\n$/,
        );
      }
      assert.is((await near.run('cat /etc/systemd/system/wormhole-7101.*')).stdout, units);
      await succeeds(near, 'delete 7101');
      await near.run('systemctl stop own');
      await leavesNothing(near);
    });

    test('heads that would lead back to this machine, or around a tunnel, are refused beforehand', async () => {
      const { near, liar } = at();
      const heard = liar.stdout().length;
      for (const [recipe, expected] of [
        [
          'remote third url 127.0.0.1:80 tail url :1',
          /the head on third cannot be at 127\.0\.0\.1, which only third itself reaches/,
        ],
        ['remote third url [::1]:80 tail url :1', /cannot be at ::1/],
        [
          'tunnel third url 10.90.0.4:80 tail url :1',
          /is at its end of the tunnel, and cannot be at 10\.90\.0\.4/,
        ],
        ['trigger udptunnel third url 127.0.0.1:80 tail url :1', /is at its end of the tunnel/],
        ['chain url :7103 remote third url 127.0.0.1:80 tail url :1', /cannot be at 127\.0\.0\.1/],
      ] as const) {
        await fails(near, `create url :7102 ${recipe}`, expected, 2);
        await fails(near, `create --dry-run url :7102 ${recipe}`, expected, 2);
      }
      assert.is(liar.stdout().length, heard, 'and it was asked for nothing');
      await leavesNothing(near);
    });

    test('what it lists does not act on the terminal', async () => {
      const { near } = at();
      const evil = '\u001b[2J\u009b31m\u202eevil\nfake listening';
      const end = { url: `tcp://${evil}`, place: evil };
      await answersWith({
        'GET /v1/links': [
          200,
          {
            links: [
              {
                id: evil,
                owner: evil,
                tunnel: evil,
                head: end,
                tail: end,
                state: 'listening',
                detail: evil,
                recipe: evil,
              },
            ],
            unreadable: [{ id: evil, reason: evil }],
          },
        ],
        'GET /v1/tunnels': [200, { tunnels: [], unreadable: [{ unit: evil, reason: evil }] }],
        'POST /v1/links': [201, { id: evil, url: evil }],
      });
      for (const command of [
        'list',
        'list --json',
        'tunnel-list',
        'tunnel-list --json',
        'create url :1 tail url :2',
      ]) {
        const { stdout, stderr } = await wormhole(near, `-H tcp://third ${command}`);
        assert.not.ok(/[\p{Cc}\p{Cf}]/u.test((stdout + stderr).replaceAll('\n', '')), command);
        assert.not.match(stdout + stderr, /^fake/m, command);
      }
    });

    test('it is refused in the middle of a request: what it was about to get is taken back', async () => {
      const { near, myserver } = at();
      const id = await idOf(myserver);
      const holder = near.spawn('exec 9>>/run/wormhole/links.lock; flock 9; echo held; sleep 600');
      await near.waitFor(() => holder.stdout() === 'held\n', { what: 'the lock' });
      const asks = myserver.spawn('wormhole create url :7001 remote near tail');
      const waits = 'ls -l /proc/$(systemctl show -P MainPID wormholed.service)/fd | grep links.lock';
      await near.waitFor(async () => (await near.run(waits, { check: false })).status === 0, {
        what: 'the request',
      });
      await near.run(`mkdir -p /var/lib/wormhole/refused; echo myserver >/var/lib/wormhole/refused/${id}`);
      await holder.stop();
      assert.match((await asks.exited).stderr, new RegExp(`machine near: machine ${id} is refused here`));
      await leavesNothing(near).catch(async (error) => {
        if ((await traces(near)) !== `/var/lib/wormhole/refused/${id}`) throw error;
      });
      await succeeds(near, `peers allow ${id}`);
      await myserver.waitFor(async () => (await succeeds(myserver, 'list --json')) === '[]', {
        what: 'its deletion to be told',
        timeout: 60,
      });
    });
  },
);
