import { stripVTControlCharacters } from 'node:util';
import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import { labSuite } from './suite.ts';

/* What `wormhole top` shows of links, beside bytes that are known, and what it leaves of a terminal. */

labSuite(
  'top',
  () => installedHost({ name: 'top' }),
  (test, at) => {
    test('the bytes of intervals add up to those that were sent, and looking starts nothing', async () => {
      const host = at();
      await host.run(
        `systemd-run --unit sink socat -u TCP-LISTEN:6010,bind=127.0.0.1,fork,reuseaddr OPEN:/dev/null`,
      );
      await succeeds(host, 'create id flows url :5210 tail url :6010');
      await succeeds(host, 'create id quiet url :5211 tail url :6011');
      await host.run('nc 127.0.0.1 5211 </dev/null', { check: false });
      await host.run(
        'systemd-run --unit looker sh -c "wormhole top --json --interval 1s --count 20 > /root/top.json"',
      );
      await host.waitFor(
        async () => (await host.run('test -s /root/top.json', { check: false })).status === 0,
        {
          timeout: 60,
          what: 'the first interval',
        },
      );
      await host.run('head -c 30000000 /dev/zero | nc -N 127.0.0.1 5210');
      await host.waitFor(
        async () => (await host.run('systemctl is-active looker', { check: false })).status !== 0,
        { timeout: 120, what: 'the end of top' },
      );
      const lines = (await host.run('cat /root/top.json')).stdout.trim().split('\n');
      const rows = lines.map((line) => JSON.parse(line));
      assert.is(rows.length, 40);
      const of = (wanted: string) => rows.filter(({ id }) => id === wanted);
      // The interval is a second and what reading takes.
      const sum = of('flows').reduce((bytes, row, place, all) => {
        const before = all[place - 1];
        const seconds = before ? (Date.parse(row.time) - Date.parse(before.time)) / 1000 : 0;
        return bytes + row.bytesInPerSecond * seconds;
      }, 0);
      assert.ok(sum > 20_000_000 && sum < 40_000_000, `${sum} bytes of 30,000,000`);
      assert.is(of('quiet').at(-1)?.errors, 1);
      const once = await succeeds(host, 'top --once --interval 1s --sort id');
      assert.match(
        once,
        /^ID +STATE +SESSIONS +NEW\/S +IN\/S +OUT\/S +ERRORS\/S +DIAL +IDLE IN\nflows .*\nquiet +failing .* \(1\) /m,
      );
      assert.is(stripVTControlCharacters(once), once);
      await host.run('nc -N 127.0.0.1 5210 </dev/null');
      // What top says of the time to idle comes true, for those who only look.
      const [flows] = (await succeeds(host, 'top --once --json --interval 1s'))
        .split('\n')
        .map((line) => JSON.parse(line))
        .filter(({ id }) => id === 'flows');
      assert.ok(flows.idleInMs > 0 && flows.idleInMs <= 60_000, `${flows.idleInMs} ms`);
      await host.waitFor(
        async () =>
          (await host.run('systemctl is-active wormhole-flows.service', { check: false })).status !== 0,
        { timeout: 60, what: 'the idle exit' },
      );
      assert.match(await succeeds(host, 'top --once --interval 1s'), /^flows .* -$/m);
      assert.is((await host.run('systemctl is-active wormhole-flows.service', { check: false })).status, 3);
    });

    test('on a terminal, keys work, and quitting, ^C and SIGTERM give it back', async () => {
      const host = at();
      const drive = async (keys: string) =>
        (
          await host.run(
            `rm -f /root/typed
             (${keys}) | script -qefc 'stty rows 12 cols 70; wormhole top --interval 1s; echo "status $?"; stty -a' /root/typed`,
            { timeout: 100 },
          )
        ).stdout;
      // What script(1) reads is on the terminal by then.
      const shows = (text: string) => `until grep -q '${text}' /root/typed 2>/dev/null; do sleep 0.2; done`;
      const [drawn, ended] = [shows('ERRORS/S'), shows('status ')];
      const outputs = [
        await drive(
          `${drawn}; printf /flo; ${shows('Filter: flo')}; printf '\\r\\r'; ${shows('wormhole-flows.socket')}; printf xq; ${ended}`,
        ),
        await drive(`${drawn}; printf '\\003'; ${ended}`),
        await drive(`${drawn}; kill $(pgrep -f 'wormhole.*top --interval 1s$' | tail -1); ${ended}`),
      ];
      for (const output of outputs) {
        assert.is(output.split('\u001b[?1049h').length, output.split('\u001b[?1049l').length);
        const after = output.slice(output.lastIndexOf('\u001b[?1049l'));
        assert.match(after, /status (0|143)/);
        assert.match(after, / icanon/);
        assert.match(after, / echo /);
        assert.ok(output.includes('\u001b[?25h'));
      }
      const [typed = ''] = outputs;
      assert.match(typed, /Filter: flo/);
      assert.match(typed, /1 of 2 links/);
      assert.match(typed, /wormhole-flows\.socket/);
    });

    test('it follows the size of the terminal, and ^Z gives that back until fg', async () => {
      const host = at();
      await host.run('mkfifo /root/keys');
      const session = host.spawn(
        "exec script -qfc 'stty rows 12 cols 70; PS1= exec bash --norc -i' /root/shell 0<>/root/keys",
      );
      const type = (keys: string) => host.run(`printf '${keys}' >/root/keys`);
      const shown = async () => (await host.run('cat /root/shell', { check: false })).stdout;
      const waitFor = (what: string, holds: (shown: string) => boolean) =>
        host.waitFor(async () => holds(await shown()), { timeout: 30, what });
      const count = (text: string, part: string) => text.split(part).length - 1;
      const [enter, leave] = ['\u001b[?1049h', '\u001b[?1049l'];
      await type('wormhole top --interval 1s\\r');
      await waitFor('the table', (text) => text.includes('ERRORS/S'));
      // The keys at the end of the last line do not fit into 70 columns.
      assert.not.match(await shown(), /Space pause/);
      await host.run('stty -F "/dev/$(ps -o tty= -p "$(pgrep -nf "top --interval 1s$")")" rows 20 cols 120');
      await waitFor('the wider lines', (text) => text.includes('Space pause'));
      await type('\\032');
      await waitFor('the shell', (text) => /Stopped .*wormhole top/.test(text));
      const stopped = await shown();
      assert.equal([count(stopped, enter), count(stopped, leave)], [1, 1]);
      await type('stty -a | tr -d "\\\\n"; echo; fg\\r');
      await waitFor('the table again', (text) => text.lastIndexOf('ERRORS/S') > text.lastIndexOf(enter));
      const between = (await shown()).split(leave)[1] ?? '';
      assert.match(between, / icanon.* echo /);
      assert.is(count(between, enter), 1);
      await type('q');
      await waitFor('the end', (text) => count(text, leave) === 2);
      await type('exit\\r');
      await session.exited;
      await host.run('rm /root/keys /root/shell');
    });

    test('several machines have a column, and one that is away does not hide the others', async () => {
      const host = at();
      // By its address, it counts as another machine.
      const several = await succeeds(
        host,
        `-H unix:///run/wormhole.sock -H ${host.address} top --once --interval 1s`,
      );
      assert.match(several, /^MACHINE +ID +STATE /m);
      assert.is(several.match(/ flows /g)?.length, 2);
      const { stdout, stderr, status } = await wormhole(
        host,
        '-H unix:///run/wormhole.sock -H tcp://127.0.0.1:1 top --once --interval 1s',
      );
      assert.match(stdout, / flows /);
      assert.match(stderr, /^wormhole: .*127\.0\.0\.1:1.*\n/);
      assert.is(status, 1);
      const one = await succeeds(host, '-H unix:///run/wormhole.sock top --once --interval 1s');
      assert.match(one, /^ID +STATE /m);
    });

    test('bad options are told in one line', async () => {
      const host = at();
      await fails(host, 'top --interval 0', /--interval "0" is not a span of time/, 2);
      await fails(host, 'top --sort size', /--sort "size" is none of/, 2);
      await fails(host, 'top --count x', /--count "x" is not a number/, 2);
      await succeeds(host, 'delete --all');
      await leavesNothing(host);
    });
  },
);
