import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import * as assert from 'uvu/assert';
import { faultsOfUnits, leavesNothing, succeeds } from './installed.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

const INSTALL = '/src/wormhole/install.sh';

labSuite(
  'install.sh',
  () => boot({ name: 'fresh', images: false }),
  (test, at) => {
    test('installs, makes a key that only root can read, and enables the watch', async () => {
      const host = at();
      await host.run(INSTALL, { timeout: 120 });
      assert.is((await host.run('stat -c "%a %U" /etc/wormhole/key.secret')).stdout, '600 root\n');
      assert.ok((await host.run('cat /etc/wormhole/key.secret')).stdout.length >= 32);
      assert.is((await host.run('systemctl is-enabled wormhole-sync.path')).stdout, 'enabled\n');
      assert.is((await host.run('systemctl is-active wormhole-sync.path')).stdout, 'active\n');
      assert.match(await succeeds(host, '--version'), /^\d+\.\d+\.\d+$/);
      // Of both programs, so that commands start with them.
      await host.run(
        'cd /usr/local/lib/wormhole/dist; test -s wormhole.cjs.cache && test -s wormholed.cjs.cache',
      );
    });

    test('again changes nothing', async () => {
      const host = at();
      const before = await fingerprint(host);
      await host.run(INSTALL, { timeout: 120 });
      assert.is(await fingerprint(host), before);
    });

    test('an upgrade leaves sockets listening and sessions open', async () => {
      const host = at();
      await host.run(
        'systemd-run --unit echo socat -t 20 TCP-LISTEN:9002,bind=127.0.0.1,fork,reuseaddr EXEC:cat',
      );
      await succeeds(host, 'create url :9000 tail url :9002');
      const session = host.spawn('nc -N 127.0.0.1 9000');
      session.write('before\n');
      await host.waitFor(() => session.stdout() === 'before\n', { what: 'the session' });
      const inode = 'ss -Hltne sport = :9000 | grep -o "ino:[0-9]*"';
      const listener = (await host.run(inode)).stdout;
      // A changed unit file makes it an upgrade that has to reload systemd.
      await host.run(
        'echo "# older" >> /etc/systemd/system/wormhole-netns@.service && systemctl daemon-reload',
      );
      await host.run(INSTALL, { timeout: 120 });
      assert.is((await host.run(inode)).stdout, listener, 'the listening socket is the same one');
      session.write('after\n');
      await host.waitFor(() => session.stdout() === 'before\nafter\n', { what: 'the session to go on' });
      session.end();
      assert.is((await session.exited).status, 0);
      assert.is(
        (await host.run('systemctl show -P NeedDaemonReload wormhole-netns@x.service')).stdout,
        'no\n',
      );
    });

    test('port 9999 is closed until somebody opens it, and stays as it is then', async () => {
      const host = at();
      const listens = async () => (await host.run('ss -Hltn sport = :9999')).stdout !== '';
      const enabled = async () =>
        (await host.run('systemctl is-enabled wormholed-tcp.socket', { check: false })).stdout.trim();
      assert.not(await listens());
      assert.is(await enabled(), 'disabled');
      assert.match(
        (await host.run(INSTALL, { timeout: 120 })).stdout,
        /other machines cannot reach this one: systemctl enable/,
      );
      await succeeds(host, 'ping');
      const refused = await host.run(`wormhole ping ${host.address}`, { check: false });
      assert.match(
        refused.stderr,
        /the connection is refused: if that machine is to be reached, systemctl enable --now wormholed-tcp\.socket there/,
      );
      // A new key does not open it either.
      await host.run(
        'cp -a /etc/wormhole/key.secret /root/key && mv /root/key /etc/wormhole/key.secret; sleep 2',
      );
      assert.not(await listens());
      assert.is(await host.failedUnits(), '');

      const { stdout } = await host.run(`${INSTALL} --listen`, { timeout: 120 });
      assert.not.match(stdout, /cannot reach this one/);
      assert.ok(await listens());
      await succeeds(host, `ping ${host.address}`);
      await host.run(INSTALL, { timeout: 120 });
      assert.ok(await listens(), 'after an upgrade, too');
      await host.run('systemctl disable --now wormholed-tcp.socket');
      await host.run(INSTALL, { timeout: 120 });
      assert.not(await listens());
      await host.run('systemctl stop wormholed.service; systemctl enable --now wormholed-tcp.socket');
      await succeeds(host, `ping ${host.address}`);
      await host.run('systemctl disable --now wormholed-tcp.socket');
    });

    test('says what is missing', async () => {
      const host = at();
      const old =
        'mkdir -p /opt/old && printf "#!/bin/sh\\n[ \\$1 = --version ] && echo v18.20.0 || echo 18\\n" > /opt/old/node && chmod +x /opt/old/node';
      const result = await host.run(
        `${old}; PATH=/opt/old:$PATH ${INSTALL}; status=$?; rm -r /opt/old; exit $status`,
        { check: false },
      );
      assert.is(result.stderr, 'install.sh: missing: node 20 or newer (found v18.20.0)\n');
      assert.is(result.status, 1);
      const bare = await host.run(
        `mkdir -p /root/bin; ln -sf $(command -v dirname id sed) /root/bin/; PATH=/root/bin /bin/sh ${INSTALL}`,
        { check: false },
      );
      assert.match(bare.stderr, /^install.sh: missing: node .*; systemd .*; mount .*\n$/);
      assert.is(bare.status, 1);
    });

    test('refuses a node that others could change, and does not run it', async () => {
      const host = at();
      // A node that leaves a trace when it runs.
      await host.run(
        'mkdir -p /opt/theirs/bin && printf "#!/bin/sh\\ntouch /opt/has-run\\n" > /opt/theirs/bin/node && chmod 755 /opt/theirs/bin/node',
      );
      for (const [weaken, repair, expected] of [
        ['chown daemon $f', 'chown root:root $f', "$f belongs to daemon: chown root:root '$f'"],
        ['chown daemon $d', 'chown root:root $d', "$d belongs to daemon: chown root:root '$d'"],
        ['chmod 757 $d', 'chmod 755 $d', "$d is writable by everybody: chmod o-w '$d'"],
        ['chmod 775 $d; chgrp users $d', 'chgrp root $d', "$d is writable by group users: chmod g-w '$d'"],
      ]) {
        const path = (text = '') =>
          text.replaceAll('$f', '/opt/theirs/bin/node').replaceAll('$d', '/opt/theirs');
        const result = await host.run(
          `${path(weaken)}; ln -sf /opt/theirs/bin/node /usr/local/sbin/node; ${INSTALL}; status=$?; rm /usr/local/sbin/node; ${path(repair)}; exit $status`,
          { check: false },
        );
        assert.is(
          result.stderr,
          `install.sh: missing: node that root alone can change, since it runs as root (found /opt/theirs/bin/node, but ${path(expected)})\n`,
        );
        assert.is(result.status, 1);
      }
      await host.run('test ! -e /opt/has-run && rm -r /opt/theirs');
    });

    test('refuses a prefix that others could change', async () => {
      const host = at();
      await host.run('install -d -o daemon /opt/theirs');
      const { stderr, status } = await host.run(`${INSTALL} --prefix /opt/theirs/new`, { check: false });
      assert.is(
        stderr,
        `install.sh: --prefix "/opt/theirs/new": what is installed there runs as root, but /opt/theirs belongs to daemon: chown root:root '/opt/theirs'\n`,
      );
      assert.is(status, 1);
      await host.run('rmdir /opt/theirs');
    });

    test('refuses what it does not know, and what makes no sense', async () => {
      const host = at();
      for (const [args, expected] of [
        ['--frob', /unknown argument "--frob"/],
        ['--prefix', /--prefix needs a directory/],
        ['--prefix relative', /"relative" must be an absolute path/],
        [`--prefix '/opt/"quoted"'`, /must not contain quotes, backslashes, \$ or control characters/],
        [`--prefix '/opt/$HOME'`, /must not contain quotes/],
        ['--purge', /--purge goes with --uninstall/],
        ['--listen --uninstall', /--listen does not go with --uninstall/],
      ] as const) {
        const { stderr, status } = await host.run(`${INSTALL} ${args}`, { check: false });
        assert.match(stderr, expected);
        assert.is(status, 2);
      }
      const nobody = await host.run(`setpriv --reuid nobody --regid nogroup --clear-groups ${INSTALL}`, {
        check: false,
      });
      assert.match(nobody.stderr, /needs root/);
      assert.is(nobody.status, 1);
    });

    test('an upgrade from a version of many modules leaves its links working, and its sessions open', async () => {
      const host = at();
      await layOldVersion(host);
      // Its units have no digest.
      await host.run(
        // Its forwarders had the root directory of the machine.
        `systemctl stop wormhole-9000.service
         sed -i -e s#dist/forwarder.cjs#dist/forwarder/main.js# -e '/^RootDirectory=\\|^BindReadOnlyPaths=\\|^Digest=/d' /etc/systemd/system/wormhole-9000.service
         systemctl daemon-reload`,
      );
      const session = host.spawn('nc -N 127.0.0.1 9000');
      session.write('before\n');
      await host.waitFor(() => session.stdout() === 'before\n', { what: 'the session' });
      const pid = (await host.run('systemctl show -P MainPID wormhole-9000.service')).stdout.trim();
      assert.match(
        (await host.run(`tr '\\0' ' ' < /proc/${pid}/cmdline`)).stdout,
        'lib/wormhole/dist/forwarder/main.js --link 9000',
      );

      const { stdout } = await host.run(INSTALL, { timeout: 120 });
      assert.match(stdout, /^upgraded wormhole-9000\.service$/m);
      assert.match(stdout, /^kept .* in \/var\/lib\/wormhole\/replaced: wormhole-9000\.service$/m);
      assert.is((await host.run('ls /usr/local/lib/wormhole')).stdout, 'LICENSE\ndist\nnode\n');
      session.write('after\n');
      await host.waitFor(() => session.stdout() === 'before\nafter\n', { what: 'the session to go on' });
      session.end();
      assert.is((await session.exited).status, 0);

      // The next forwarder is of the new version, also by the old path, which a unit that was edited has.
      await host.run('systemctl stop wormhole-9000.service');
      assert.is((await host.run('echo new | nc -N 127.0.0.1 9000')).stdout, 'new\n');
      assert.match(
        (await host.run('systemctl show -P ExecStart wormhole-9000.service')).stdout,
        '/usr/local/lib/wormhole/dist/forwarder.cjs',
      );
      await host.run(
        'systemctl stop wormhole-9000.service; cp /var/lib/wormhole/replaced/wormhole-9000.service /etc/systemd/system; systemctl daemon-reload',
      );
      assert.is((await host.run('echo old | nc -N 127.0.0.1 9000')).stdout, 'old\n');
      const version = await succeeds(host, '--version');
      const old = 'cd / && /usr/local/lib/wormhole/node /usr/local/lib/wormhole/dist/cli/main.js --version';
      assert.is((await host.run(old)).stdout, `${version}\n`);
    });

    test('--uninstall removes all but links, the key and what is not ours', async () => {
      const host = at();
      const { stdout } = await host.run(`${INSTALL} --uninstall`);
      assert.match(stdout, /links and tunnels stay, closed until Wormhole is installed again: 9000 /);
      assert.match((await host.run('nc -zv 127.0.0.1 9000', { check: false })).stderr, /refused/);
      assert.is(
        (
          await host.run('ls /usr/local/lib/wormhole /usr/local/bin/wormhole 2>&1 | grep -vc "No such"', {
            check: false,
          })
        ).stdout,
        '0\n',
      );
      assert.is(
        (await host.run('ls /etc/systemd/system | grep wormhole')).stdout,
        'wormhole-9000.service\nwormhole-9000.socket\n',
      );
      await host.run('test -s /etc/wormhole/key.secret');
    });

    test('--prefix and DESTDIR', async () => {
      const host = at();
      await host.run(`DESTDIR=/root/package ${INSTALL} --prefix /opt/wormhole`, { timeout: 120 });
      await host.run('test -x /root/package/opt/wormhole/bin/wormhole && test ! -e /opt/wormhole');
      await host.run(`${INSTALL} --prefix /opt/wormhole`, { timeout: 120 });
      // What is below DESTDIR is not of this machine, so neither are the links to be deleted.
      await host.run(`DESTDIR=/root/package ${INSTALL} --prefix /opt/wormhole --uninstall --purge`);
      await host.run('test ! -e /root/package/opt/wormhole && test -s /etc/wormhole/key.secret');
      assert.match((await host.run('/opt/wormhole/bin/wormhole list')).stdout, /^9000 /m);
      // It was closed since the program was uninstalled.
      assert.is((await host.run('echo again | nc -N 127.0.0.1 9000')).stdout, 'again\n');
      assert.match(
        (await host.run('systemctl cat wormhole-sync.service')).stdout,
        /ExecStart=\/opt\/wormhole\/bin\/wormhole sync/,
      );
    });

    test('a directory of somebody else below the prefix is refused', async () => {
      const host = at();
      await host.run('mkdir -p /opt/theirs/bin && chown nobody /opt/theirs/bin');
      const { stderr, status } = await host.run(`${INSTALL} --prefix /opt/theirs`, { check: false });
      assert.is(status, 1);
      assert.match(
        stderr,
        /--prefix "\/opt\/theirs": .* but \/opt\/theirs\/bin belongs to nobody: chown root:root/,
      );
      await host.run('rmdir /opt/theirs/bin /opt/theirs');
    });

    test('a prefix with spaces and characters that mean something to sed, the shell and systemd', async () => {
      const host = at();
      const prefix = '/opt/odd #1 & 100%n %% ;';
      await host.run(`${INSTALL} --prefix '${prefix}' --listen`, { timeout: 120 });
      const wormhole = `'${prefix}/bin/wormhole'`;
      await host.run(`${wormhole} create url :9010 tail url :9002`);
      assert.is((await host.run('echo odd | nc -N 127.0.0.1 9010')).stdout, 'odd\n');
      // What systemd and its timers start: a namespace is mounted, containers are followed, the daemon answers.
      await host.run(`ip netns add odd; ${wormhole} create url odd@:9011 tail url :9002`);
      assert.match((await host.run(`${wormhole} list`)).stdout, /^9011-odd .*listening$/m);
      await host.run('systemctl start wormhole-sync.service');
      assert.match((await host.run(`${wormhole} ping`)).stdout, /^\d+\.\d+ [0-9a-f]{32}\n$/);
      assert.match((await host.run(`${wormhole} -H localhost list`)).stdout, /^9010 /m);
      assert.is(await faultsOfUnits(host, '/etc/systemd/system'), '');
      await host.run(`${wormhole} delete 9010 9011-odd; ip netns del odd`);
      await host.run(`${INSTALL} --prefix '${prefix}' --uninstall`);
      assert.is((await host.run('ls /opt')).stdout, 'wormhole\n');
      await host.run(`${INSTALL} --prefix /opt/wormhole`, { timeout: 120 });
    });

    test('--uninstall --purge removes links and key too', async () => {
      const host = at();
      await host.run(`${INSTALL} --prefix /opt/wormhole --uninstall --purge`);
      await leavesNothing(host);
      assert.is(
        (await host.run("systemctl list-units --all --plain --no-legend 'wormhole*'")).stdout.replace(
          /^system-.*\n/gm,
          '',
        ),
        '',
      );
      assert.is(
        (
          await host.run(
            'find / -xdev -name "*wormhole*" -not -path "/src/*" -not -path "/root/*" -not -path "/proc/*" -not -path "/sys/*" -not -path "/var/log/*"',
          )
        ).stdout,
        '',
      );
    });
  },
);

/**
 * Makes the installed program look like one of a version before there were bundles: the forwarder in ES modules, with
 * node_modules beside it. It is today's forwarder all the same.
 */
async function layOldVersion(host: Host): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-old-'));
  try {
    const entryPoints = readdirSync('src/forwarder', { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `src/forwarder/${name}`);
    await build({
      entryPoints,
      outdir: join(directory, 'dist/forwarder'),
      format: 'esm',
      logLevel: 'warning',
    });
    for (const name of ['koffi', '@koromix'])
      cpSync(`node_modules/${name}`, join(directory, 'node_modules', name), { recursive: true });
    writeFileSync(join(directory, 'package.json'), '{ "type": "module" }');
    await host.run('cd /usr/local/lib/wormhole && rm -r dist LICENSE');
    for (const name of ['dist', 'node_modules', 'package.json'])
      await host.copyIn(join(directory, name), '/usr/local/lib/wormhole');
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Every file that install.sh writes, with what is in it. */
async function fingerprint(host: Host): Promise<string> {
  const { stdout } = await host.run(
    'find /usr/local/lib/wormhole /usr/local/bin/wormhole /etc/wormhole /etc/systemd/system /usr/local/share/man -type f -o -type l | sort | while read f; do [ -L "$f" ] && readlink "$f" || md5sum "$f"; done',
  );
  return stdout;
}
