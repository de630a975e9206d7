import * as assert from 'uvu/assert';
import { addDigest, isEdited } from '../../src/units/digest.ts';
import { fails, installedHost, succeeds, wormhole } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* What becomes of links when the program is replaced, and when it is gone. */

const INSTALL = '/src/wormhole/install.sh';
const UNITS = '/etc/systemd/system';

labSuite(
  'upgrades',
  () => installedHost({ name: 'upgraded', images: false }),
  (test, at) => {
    test('units of an earlier version are written again; sockets and sessions stay', async () => {
      const host = at();
      await host.run(
        'systemd-run --unit echo socat -t 60 TCP-LISTEN:9002,bind=127.0.0.1,fork,reuseaddr EXEC:cat',
      );
      await succeeds(host, 'create id plain url :9000 tail url :9002');
      const today = await units(host, 'plain');
      await writeAsEarlierVersion(host, 'wormhole-plain.socket', (text) =>
        text.replace(/^Backlog=.*\n/m, ''),
      );
      await writeAsEarlierVersion(host, 'wormhole-plain.service', (text) =>
        text.replace('RestartSec=0', 'RestartSec=7s').replace('dist/forwarder.cjs', 'dist/forwarder/main.js'),
      );
      await host.run('systemctl daemon-reload');
      const session = host.spawn('nc -N 127.0.0.1 9000');
      session.write('before\n');
      await host.waitFor(() => session.stdout() === 'before\n', { what: 'the session' });
      const inode = 'ss -Hltne sport = :9000 | grep -o "ino:[0-9]*"';
      const listener = (await host.run(inode)).stdout;

      const { stdout, stderr } = await host.run(INSTALL, { timeout: 120 });
      assert.match(stdout, /^upgraded wormhole-plain\.socket wormhole-plain\.service$/m);
      assert.is(stderr, '');
      assert.is(await units(host, 'plain'), today);
      assert.is((await host.run(inode)).stdout, listener, 'the listening socket is the same one');
      session.write('after\n');
      await host.waitFor(() => session.stdout() === 'before\nafter\n', { what: 'the session to go on' });
      session.end();
      assert.is((await session.exited).status, 0);
      const property = (name: string) => host.run(`systemctl show -P ${name} wormhole-plain.service`);
      assert.is((await property('RestartUSec')).stdout, '0\n');
      assert.is((await property('NeedDaemonReload')).stdout, 'no\n');
      assert.is(await succeeds(host, 'upgrade'), '', 'there is nothing more to do');
    });

    test('a unit that was edited is left alone, and the diff is printed; --force replaces it and keeps a copy', async () => {
      const host = at();
      const today = await units(host, 'plain');
      await host.run(`sed -i s/^WatchdogSec=.*/WatchdogSec=5s/ ${UNITS}/wormhole-plain.service`);
      await writeAsEarlierVersion(host, 'wormhole-plain.socket', (text) =>
        text.replace(/^Backlog=.*\n/m, ''),
      );
      const edited = (await host.run(`cat ${UNITS}/wormhole-plain.service`)).stdout;

      const { stdout, stderr } = await host.run(INSTALL, { timeout: 120 });
      assert.match(stdout, /^upgraded wormhole-plain\.socket$/m);
      assert.match(stderr, /^wormhole: wormhole-plain\.service was edited and is left alone\. .*--force/m);
      assert.match(stderr, /^-WatchdogSec=5s\n\+WatchdogSec=30s$/m);
      assert.is((await host.run(`cat ${UNITS}/wormhole-plain.service`)).stdout, edited);

      assert.is(
        await succeeds(host, 'upgrade --force plain'),
        'upgraded wormhole-plain.service\nkept what was there before in /var/lib/wormhole/replaced: wormhole-plain.service',
      );
      assert.is(await units(host, 'plain'), today);
      const copy = '/var/lib/wormhole/replaced/wormhole-plain.service';
      assert.is((await host.run(`cat ${copy}`)).stdout, edited);
      assert.is((await host.run(`stat -c '%a %U' ${copy}`)).stdout, '600 root\n');
    });

    test('a drop-in outlives an upgrade', async () => {
      const host = at();
      await host.run(
        `mkdir ${UNITS}/wormhole-plain.service.d; printf '[Service]\\nNice=5\\n' > ${UNITS}/wormhole-plain.service.d/nice.conf`,
      );
      await writeAsEarlierVersion(host, 'wormhole-plain.service', (text) =>
        text.replace('RestartSec=0\n', ''),
      );
      assert.is(await succeeds(host, 'upgrade plain'), 'upgraded wormhole-plain.service');
      assert.is((await host.run('systemctl show -P Nice wormhole-plain.service')).stdout, '5\n');
    });

    test('delete removes drop-ins of every kind and says so; the next link of that id has none', async () => {
      const host = at();
      await host.run('systemctl set-property --runtime wormhole-plain.service CPUWeight=50');
      const { stderr, status } = await wormhole(host, 'delete plain');
      assert.is(status, 0);
      assert.match(
        stderr,
        /^wormhole: link "plain": its drop-in \/etc\/systemd\/system\/wormhole-plain\.service\.d\/nice\.conf is removed with it$/m,
      );
      assert.match(stderr, /\/run\/systemd\/system\.control\/wormhole-plain\.service\.d\/50-CPUWeight\.conf/);
      assert.is((await host.run("find /etc/systemd /run/systemd -name 'wormhole-plain*'")).stdout, '');
      await succeeds(host, 'create id plain url :9000 tail url :9002');
      const shown = await host.run('systemctl show -P Nice -P CPUWeight wormhole-plain.service');
      assert.is(shown.stdout, '[not set]\n0\n');
    });

    test('what upgrade cannot do is one line', async () => {
      const host = at();
      await fails(host, 'upgrade nosuch', /^wormhole: no link "nosuch": see wormhole list$/m);
      await fails(
        host,
        '-H localhost upgrade',
        /upgrade acts only on this machine: run it there, without -H/,
        2,
      );
      const nobody = 'setpriv --reuid nobody --regid nogroup --clear-groups wormhole upgrade';
      assert.is(
        (await host.run(nobody, { check: false })).stderr,
        'wormhole: this needs root: sudo wormhole upgrade\n',
      );
      const socket = `${UNITS}/wormhole-plain.socket`;
      const before = (await host.run(`cat ${socket}`)).stdout;
      await host.run(`sed -i s/^Recipe=.*/Recipe=nonsense/ ${socket}`);
      const { stderr, status } = await wormhole(host, 'upgrade');
      assert.match(
        stderr,
        /^wormhole: wormhole-plain\.socket is left alone: \[X-Wormhole\] cannot be read: .*nonsense/m,
      );
      assert.is(status, 0);
      await host.run(['sh', '-c', `printf %s "$1" > ${socket}`, 'sh', before]);
      assert.is(isEdited((await host.run(`cat ${socket}`)).stdout), false);
    });

    test('without Node a client is refused, the journal says why, and nothing spins', async () => {
      const host = at();
      const node = '/usr/local/lib/wormhole/node';
      await host.run(`systemctl stop wormhole-plain.service; mv ${node} ${node}.away`);
      const refused = async () =>
        /refused/.test((await host.run('nc -zv -w 1 127.0.0.1 9000', { check: false })).stderr);
      await host.run('nc -w 5 127.0.0.1 9000', { check: false });
      await host.waitFor(refused, { what: 'the link to be closed' });
      await host.waitFor(
        async () =>
          (await host.journal('-b', '-t', 'wormhole-plain', '-o', 'cat')).includes(
            'link plain is closed: its program, or the Node that runs it, cannot be executed.',
          ),
        { what: 'the journal to say why' },
      );
      const failures = (await host.journal('-b', '-u', 'wormhole-plain.service')).match(/status=203\/EXEC/g);
      assert.ok(failures && failures.length <= 30, `${failures?.length} starts`);
      // A boot starts it so.
      await host.run('systemctl start wormhole-plain.socket');
      assert.ok(await refused());
      await host.run(`mv ${node}.away ${node}`);
      await succeeds(host, 'upgrade');
      await host.waitFor(
        async () =>
          (await host.run('echo here | nc -N 127.0.0.1 9000', { check: false })).stdout === 'here\n',
        {
          what: 'the link to be open again',
        },
      );
    });

    test('an upgrade opens what was closed, except what somebody has stopped', async () => {
      const host = at();
      await succeeds(host, 'create id quiet url :9001 tail url :9002');
      await succeeds(host, 'stop quiet');
      await host.run(`${INSTALL} --uninstall`);
      assert.match((await host.run('nc -zv 127.0.0.1 9000', { check: false })).stderr, /refused/);
      assert.is((await host.run("systemctl list-units --failed --plain --no-legend 'wormhole*'")).stdout, '');
      await host.run(INSTALL, { timeout: 120 });
      assert.is((await host.run('echo here | nc -N 127.0.0.1 9000')).stdout, 'here\n');
      assert.match((await host.run('nc -zv 127.0.0.1 9001', { check: false })).stderr, /refused/);
    });

    test('at no moment of an upgrade a client is not served', async () => {
      const host = at();
      await host.run('systemctl stop wormhole-plain.service');
      const clients = host.spawn(
        'for i in $(seq 60); do [ "$(echo $i | nc -N -w 60 127.0.0.1 9000)" = $i ] || echo client $i is not served; systemctl stop wormhole-plain.service; done; echo done',
      );
      while (!clients.stdout().includes('done')) await host.run(INSTALL, { timeout: 120 });
      assert.is((await clients.exited).stdout, 'done\n');
    });
  },
);

/** The unit files of a link that is no child and runs no container. */
async function units(host: Host, id: string): Promise<string> {
  return (await host.run(`cat ${UNITS}/wormhole-${id}.*`)).stdout;
}

/** Changes a unit file to what an earlier version might have written. */
async function writeAsEarlierVersion(
  host: Host,
  unit: string,
  change: (text: string) => string,
): Promise<void> {
  const { stdout } = await host.run(`cat ${UNITS}/${unit}`);
  const changed = addDigest(change(stdout.replace(/^Digest=.*\n/m, '')));
  assert.is.not(changed, stdout);
  await host.run(['sh', '-c', `printf %s "$1" > ${UNITS}/${unit}`, 'sh', changed]);
}
