import * as assert from 'uvu/assert';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* What shells complete, through the scripts that install.sh installs. */

const BASH = '/usr/local/share/bash-completion/completions/wormhole';

labSuite(
  'completion',
  async () => {
    const host = await installedHost({ name: 'completion', packages: ['zsh', 'fish'] });
    await host.run('docker run -d --name database --network none wormhole/tools sleep infinity');
    await host.run('docker create --name tail --network none wormhole/tools');
    await host.run('ip netns add blue');
    await host.run('mkdir -p /var/lib/wormhole/peers && printf %032d 7 >/var/lib/wormhole/peers/myserver');
    await succeeds(host, 'create id web url :4000 chain url :4001 tail url :4002');
    await succeeds(host, 'create id www url :4003 tail url :4002');
    return host;
  },
  (test, at) => {
    test('bash: commands, options, values, and words of recipes where they may stand', async () => {
      const host = at();
      for (const [line, expected] of [
        ['wormhole tunnel-', 'tunnel-create tunnel-delete tunnel-list'],
        ['wormhole peers ', 'accept allow revoke'],
        ['wormhole list --', '--container --help --json --machine --state --watch --wide'],
        ['wormhole create --pull ', 'always missing never'],
        ['wormhole create --pull=', 'always missing never'],
        ['wormhole create --proxy-protocol=', 'v1 v2'],
        // It has no value of its own: the recipe follows.
        ['wormhole create --proxy-protocol ur', 'url'],
        ['wormhole create --proxy-protocol url :80 tai', 'tail'],
        ['wormhole list --state s', 'sleeping stopped'],
        ['wormhole graph --format ', 'dot mermaid svg'],
        ['wormhole create --pull never --rep', '--replace'],
        ['wormhole create url :80 t', 'tail trigger tunnel'],
        ['wormhole create url :80 tail url :81 t', ''],
        ['wormhole create url :80 tail url :81 o', 'or'],
        ['wormhole create --balance s', 'source'],
        ['wormhole drain w', 'web www'],
        ['wormhole create --idle 5m url :80 trigger docker-run "-e A=b nginx" ch', 'chain child'],
        [
          'wormhole create url :80 docker-ns ',
          '/tail chain database id idle remote tail trigger tunnel udptunnel url',
        ],
        ['wormhole create url :80 tail docker-ns dat', 'database'],
        ['wormhole create url :80 trigger unit systemd-journald.s', 'systemd-journald.service'],
        ['wormhole create url :80 trigger unit wormhole', ''],
        ['wormhole create url bl', 'blue@'],
        // bash breaks words at a colon, and replaces what is behind it.
        ['wormhole create url udp://b', '//blue@'],
        ['wormhole create url :80 remote ', 'myserver'],
        ['wormhole -H my', 'myserver'],
        ['wormhole delete w', 'web www'],
        ['wormhole delete web w', 'www'],
        ['wormhole edit ', 'web www'],
        ['wormhole show ', 'web www'],
        ['wormhole edit web ', ''],
        ['wormhole doctor --link ', 'web www'],
        ['wormhole doctor --f', '--fix'],
        ['wormhole completion ', 'bash fish zsh'],
        ['wormhole nonsense ', ''],
        ['wormhole create url "x', ''],
      ] as const) {
        // An engine that does not answer at once is not waited for.
        await host
          .waitFor(async () => (await bash(host, line)) === expected, { timeout: 5, what: line })
          .catch(async () => assert.is(await bash(host, line), expected, line));
      }
    });

    test('bash, at a terminal', async () => {
      const host = at();
      assert.match(
        await terminal(host, 'bash --norc -i', `source ${BASH}`, 'wormhole slee\tww\t'),
        /^wormhole sleep www\r?$/m,
      );
      assert.match(
        await terminal(host, 'bash --norc -i', `source ${BASH}`, 'wormhole create url udp://bl\t:53'),
        /^wormhole create url udp:\/\/blue@:53\r?$/m,
      );
    });

    test('zsh, at a terminal', async () => {
      const host = at();
      const load = 'autoload -U compinit && compinit -u';
      assert.match(
        await terminal(host, 'zsh -f -i', load, 'wormhole slee\tww\t'),
        /^wormhole sleep www ?\r?$/m,
      );
      assert.match(
        await terminal(host, 'zsh -f -i', load, 'wormhole create url udp://bl\t:53'),
        /^wormhole create url udp:\/\/blue@:53\r?$/m,
      );
    });

    test('fish', async () => {
      const host = at();
      const fish = async (line: string) => (await host.run(['fish', '-c', `complete -C '${line}'`])).stdout;
      assert.match(await fish('wormhole slee'), /^sleep\tstop what the trigger/m);
      assert.is((await fish('wormhole edit w')).replace(/\t/g, ''), 'web\nwww\n');
      assert.match(await fish('wormhole create url udp://bl'), /udp:\/\/blue@/);
      assert.match(await fish('wormhole apply -f /etc/ho'), /\/etc\/hostname/);
    });

    test('it starts nothing, and says nothing without an engine and without rights', async () => {
      const host = at();
      await host.run('systemctl stop docker.service docker.socket; systemctl start docker.socket');
      const { stdout, stderr } = await host.run(
        'wormhole __complete --line -- "wormhole create url :80 docker-ns "',
      );
      assert.is(stderr, '');
      assert.not.match(stdout, /database/);
      assert.is(
        (await host.run('systemctl is-active docker.service', { check: false })).stdout,
        'inactive\n',
      );
      await host.run('systemctl start docker.service');
      const user = await host.run(
        'setpriv --reuid 65534 --clear-groups wormhole __complete --line -- "wormhole create url :80 docker-ns "',
      );
      assert.is(user.stderr, '');
      assert.match(user.stdout, /^trigger\t/m);
      const links = await host.run('setpriv --reuid 65534 --clear-groups wormhole __complete delete w');
      assert.is(links.stdout, 'words\nweb\t\nwww\t\n');
      await succeeds(host, 'delete --all');
      await host.run('rm -r /var/lib/wormhole/peers/myserver');
      await leavesNothing(host);
    });

    test('uninstalling removes the scripts', async () => {
      const host = at();
      const scripts =
        'find /usr/local/share/bash-completion /usr/local/share/zsh/site-functions /etc/fish/completions -name "*wormhole*" 2>/dev/null | wc -l';
      assert.is((await host.run(scripts)).stdout, '3\n');
      await host.run('/src/wormhole/install.sh --uninstall');
      assert.is((await host.run(scripts)).stdout, '0\n');
    });
  },
);

/** What bash would offer for a line with the cursor at its end, in order. */
async function bash(host: Host, line: string): Promise<string> {
  const script = `source ${BASH}
COMP_LINE=$1 COMP_POINT=\${#1}
compopt() { :; }
_wormhole
printf '%s\\n' "\${COMPREPLY[@]}" | sort`;
  const { stdout, stderr } = await host.run(['env', 'LC_ALL=C', 'bash', '-c', script, 'bash', line]);
  assert.is(stderr, '', line);
  return stdout.trim().split('\n').join(' ');
}

/** Types a line at a shell, with its tabs, and has the shell print what it has become. */
async function terminal(host: Host, shell: string, load: string, line: string): Promise<string> {
  const session = host.spawn(`TERM=dumb script -qc '${shell}' /dev/null`);
  let hasEnded = false;
  session.exited.then(() => {
    hasEnded = true;
  });
  try {
    // The quotes keep the word from being found in what is typed.
    session.write(`${load}; echo rea''dy\n`);
    await host.waitFor(() => /^ready\r?$/m.test(session.stdout()), { what: `${shell} to be ready` });
    // What is typed while the shell completes waits in the terminal. Ctrl-A goes to the beginning of the line.
    session.write(`${line}\u0001echo \nexit\n`);
    await host.waitFor(() => hasEnded, { what: `${shell} to end` });
    return session.stdout();
  } finally {
    await session.stop();
  }
}
