import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { buildPackage } from '../../build/package/package.ts';
import { faultsOfUnits, leavesNothing, succeeds } from './installed.ts';
import { nodePackage } from './node-package.ts';
import { boot, type Host } from './rig/host.ts';
import { type Result, type Running, run } from './rig/shell.ts';
import { labSuite } from './suite.ts';

/* The Debian package: how it is built, and what becomes of links when it is installed, upgraded, removed and purged. */

const root = fileURLToPath(new URL('../../', import.meta.url));
const INSTALL = '/src/wormhole/install.sh';
const MARK = 'this is the forwarder of 0.1.1';

const directory = mkdtempSync(join(tmpdir(), 'wormhole-packages-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

// The sources may be an archive, which has no commit.
process.env.SOURCE_DATE_EPOCH ??= '1764115200';

labSuite(
  'the Debian package',
  async () => {
    const [host, first] = await Promise.all([
      boot({ name: 'debian', docker: false }),
      buildPackage({ root, out: join(directory, 'first'), version: '0.1.0' }),
    ]);
    const [node, second] = await Promise.all([nodePackage(directory), newerPackage(first)]);
    for (const path of [first, second, node]) await host.copyIn(path, '/root');
    return { host, first };
  },
  (test, at) => {
    let session: Running;

    test('two builds of one commit are the same, whatever the time zone and the umask', async () => {
      const { first } = at();
      const umask = process.umask(0o077);
      const zone = process.env.TZ;
      process.env.TZ = 'Asia/Tokyo';
      try {
        const again = await buildPackage({ root, out: join(directory, 'again'), version: '0.1.0' });
        assert.ok(readFileSync(first).equals(readFileSync(again)));
      } finally {
        process.umask(umask);
        if (zone === undefined) delete process.env.TZ;
        else process.env.TZ = zone;
      }
    });

    test('lintian finds nothing to say of it', async () => {
      const { stdout } = await run([
        ...['lintian', '--allow-root', '--fail-on', 'error,warning'],
        at().first,
      ]);
      assert.is(stdout, '');
    });

    test('it has a list of the packages in it, with versions and licences', async () => {
      const path = './usr/share/doc/wormhole/sbom.cdx.json';
      const { stdout } = await run([
        'sh',
        '-c',
        'dpkg-deb --fsys-tarfile "$1" | tar -xO "$2"',
        'sh',
        at().first,
        path,
      ]);
      const sbom = JSON.parse(stdout);
      assert.is(sbom.bomFormat, 'CycloneDX');
      assert.is(sbom.metadata.component.name, 'wormhole');
      const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
      const koffi = sbom.components.find(({ name }: { name: string }) => name === 'koffi');
      assert.is(koffi.version, packages['node_modules/koffi'].version);
      assert.is(koffi.licenses[0].license.id, 'MIT');
      assert.not(sbom.components.some(({ name }: { name: string }) => name === 'esbuild'));
    });

    test('apt installs it; it enables what install.sh enables, and makes a key', async () => {
      const { host } = at();
      const alone = await host.run('apt-get install -y /root/wormhole_0.1.0_*.deb', { check: false });
      assert.match(alone.stdout + alone.stderr, /wormhole : Depends: nodejs \(>= 20\)/);
      await host.run('apt-get install -y /root/nodejs_*.deb /root/wormhole_0.1.0_*.deb');
      assert.is((await host.run('stat -c "%a %U" /etc/wormhole/key.secret')).stdout, '600 root\n');
      for (const unit of ['wormhole-sync.path', 'wormholed.socket']) {
        assert.is((await host.run(`systemctl is-enabled ${unit}`)).stdout, 'enabled\n');
        assert.is((await host.run(`systemctl is-active ${unit}`)).stdout, 'active\n');
      }
      assert.is((await host.run('ss -Hltn sport = :9999')).stdout, '', 'other machines are not let in');
      assert.match(await succeeds(host, 'ping'), /^\d+\.\d+ [0-9a-f]{32}$/);
      assert.is(await host.failedUnits(), '');
      assert.is(await faultsOfUnits(host, '/usr/lib/systemd/system'), '');
    });

    test('a newer version leaves sockets listening and sessions open, and serves new clients', async () => {
      const { host } = at();
      await host.run(
        'systemd-run --unit echo socat -t 60 TCP-LISTEN:9002,bind=127.0.0.1,fork,reuseaddr EXEC:cat',
      );
      await succeeds(host, 'create url :9000 tail url :9002');
      await host.run('systemctl disable --now wormhole-counters.service');
      session = host.spawn('nc -N 127.0.0.1 9000');
      session.write('before\n');
      await host.waitFor(() => session.stdout() === 'before\n', { what: 'the session' });
      const pid = async () => (await host.run('systemctl show -P MainPID wormhole-9000.service')).stdout;
      const former = await pid();
      // The forwarder stores what sessions it has every second.
      await host.waitFor(
        async () =>
          (await host.run('systemctl show -P NFileDescriptorStore wormhole-9000.service')).stdout !== '0\n',
        { what: 'the session to be stored' },
      );
      const inode = 'ss -Hltne sport = :9000 | grep -o "ino:[0-9]*"';
      const listener = (await host.run(inode)).stdout;
      const clients = host.spawn(
        'trap "exit 0" TERM; while :; do echo x | nc -N -w 10 127.0.0.1 9000 || echo refused; done',
      );
      const { stderr } = await host.run('dpkg -i /root/wormhole_0.1.1_*.deb');
      assert.is(stderr, '');
      await host.waitFor(async () => (await pid()) !== former, { what: 'the forwarder of the new version' });
      await host.waitFor(
        async () => (await host.journal('-b', '-u', 'wormhole-9000.service', '-o', 'cat')).includes(MARK),
        { what: 'the new forwarder to say so' },
      );
      assert.is((await host.run('echo new | nc -N 127.0.0.1 9000')).stdout, 'new\n');
      assert.match(
        (await clients.stop()).stdout,
        /^(?:x\n)+$/,
        'no client meets a moment without the program',
      );
      assert.is((await host.run(inode)).stdout, listener, 'the listening socket is the same one');
      const bytes = 'after\n'.repeat(20_000);
      session.write(bytes);
      await host.waitFor(() => session.stdout() === `before\n${bytes}`, { what: 'the session to go on' });
      session.end();
      assert.is((await session.exited).status, 0);
      const counters = await host.run('systemctl is-enabled wormhole-counters.service', { check: false });
      assert.is(counters.stdout, 'disabled\n', 'what an administrator has disabled stays so');
    });

    test('install.sh does not install over it', async () => {
      const { host } = at();
      for (const args of ['', '--uninstall --purge']) {
        const { stderr, status } = await host.run(`${INSTALL} ${args}`, { check: false });
        assert.match(stderr, /^install\.sh: the Debian package wormhole is installed: .*apt[^\n]*\n$/);
        assert.is(status, 1);
      }
      assert.is((await host.run('echo still | nc -N 127.0.0.1 9000')).stdout, 'still\n');
    });

    test('remove closes links and keeps them, with the key; install.sh opens them', async () => {
      const { host } = at();
      const { stdout } = await host.run('apt-get remove -y wormhole');
      assert.match(
        stdout,
        /wormhole: links and tunnels stay, closed until Wormhole is installed again: 9000 \(apt purge/,
      );
      assert.ok(await isRefused(host));
      await host.run('test -s /etc/wormhole/key.secret && test -e /etc/systemd/system/wormhole-9000.socket');
      assert.is(
        (await host.run("systemctl list-units --plain --no-legend 'wormhole*'")).stdout.replace(
          /^system-.*\n/gm,
          '',
        ),
        '',
      );
      assert.is((await host.run('pgrep -af [w]ormhole', { check: false })).stdout, '');
      await host.run(INSTALL, { timeout: 120 });
      assert.is((await host.run('echo again | nc -N 127.0.0.1 9000')).stdout, 'again\n');
    });

    test('it does not install over what install.sh has installed, and purge leaves that alone', async () => {
      const { host } = at();
      const { stderr, status } = await dpkg(host, '-i /root/wormhole_0.1.0_*.deb');
      assert.match(
        stderr,
        /^wormhole: install\.sh has installed Wormhole in \/usr\/local: \.\/install\.sh --uninstall there first; [^\n]*$/m,
      );
      assert.is(status, 1);
      await host.run('dpkg --purge wormhole');
      assert.is((await host.run('echo yet | nc -N 127.0.0.1 9000')).stdout, 'yet\n');
      await host.run('test -s /etc/wormhole/key.secret && systemctl is-enabled wormhole-sync.path');
      await host.run(`${INSTALL} --uninstall`);
      assert.ok(await isRefused(host));
      await host.run('dpkg -i /root/wormhole_0.1.0_*.deb');
      assert.is((await host.run('echo last | nc -N 127.0.0.1 9000')).stdout, 'last\n');
      assert.match(
        (await host.run('systemctl show -P ExecStart wormhole-9000.service')).stdout,
        '/usr/lib/wormhole/dist/forwarder.cjs',
      );
      await host.run('cd /usr/lib/wormhole/dist; test -s wormhole.cjs.cache && test -s wormholed.cjs.cache');
    });

    test('purge leaves nothing', async () => {
      const { host } = at();
      await host.run('systemctl enable --now wormholed-tcp.socket');
      const { stdout, stderr } = await host.run('apt-get purge -y wormhole');
      // The program that removing has kept does it.
      assert.not.match(stdout + stderr, /could not be deleted properly/);
      await leavesNothing(host);
      const units = await host.run("systemctl list-units --all --plain --no-legend 'wormhole*'");
      assert.is(units.stdout.replace(/^system-.*\n/gm, ''), '');
      const found = await host.run(
        'find / -xdev -name "*wormhole*" -not -path "/src/*" -not -path "/root/*" -not -path "/proc/*" -not -path "/sys/*" -not -path "/var/log/*"',
      );
      assert.is(found.stdout, '');
      assert.is(await host.failedUnits(), '');
    });

    test('purge without Node removes the files all the same', async () => {
      const { host } = at();
      await host.run('dpkg -i /root/wormhole_0.1.0_*.deb');
      await succeeds(host, 'create url :9000 tail url :9002');
      await host.run(
        'd=/etc/systemd/system/wormhole-9000.service.d; mkdir $d; printf "[Service]\\nNice=5\\n" > $d/nice.conf; systemctl daemon-reload',
      );
      await host.run('dpkg --remove wormhole nodejs && dpkg --purge wormhole');
      await leavesNothing(host);
      assert.is(
        (await host.run('ls -d /etc/wormhole /var/lib/wormhole /run/wormhole', { check: false })).stdout,
        '',
      );
    });
  },
);

async function isRefused(host: Host): Promise<boolean> {
  return /refused/.test((await host.run('nc -zv -w 1 127.0.0.1 9000', { check: false })).stderr);
}

function dpkg(host: Host, args: string): Promise<Result> {
  return host.run(`dpkg ${args}`, { check: false });
}

/** The same package as 0.1.1, whose forwarder says that it is that. */
async function newerPackage(path: string): Promise<string> {
  const tree = join(directory, 'newer');
  await run(['dpkg-deb', '--raw-extract', path, tree]);
  const edit = (name: string, change: (text: string) => string) =>
    writeFileSync(join(tree, name), change(readFileSync(join(tree, name), 'utf8')));
  edit('DEBIAN/control', (text) => text.replace('Version: 0.1.0', 'Version: 0.1.1'));
  edit(
    'usr/lib/wormhole/dist/forwarder.cjs',
    (text) => `require("node:fs").writeSync(2,"${MARK}\\n");${text}`,
  );
  const newer = join(directory, basename(path).replace('0.1.0', '0.1.1'));
  await run(['dpkg-deb', '--root-owner-group', '-Znone', '--build', tree, newer]);
  return newer;
}
