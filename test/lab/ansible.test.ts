import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { buildPackage } from '../../build/package/package.ts';
import { succeeds } from './installed.ts';
import { nodePackage } from './node-package.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* The role of examples/ansible, run by Debian's Ansible. */

const root = fileURLToPath(new URL('../../', import.meta.url));

const directory = mkdtempSync(join(tmpdir(), 'wormhole-ansible-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

// The sources may be an archive, which has no commit.
process.env.SOURCE_DATE_EPOCH ??= '1764115200';

labSuite(
  'the Ansible role',
  async () => {
    const [host, path, node] = await Promise.all([
      boot({ name: 'ansible', docker: false, packages: ['ansible-core', 'python3-apt'] }),
      buildPackage({ root, out: directory, version: '0.1.0' }),
      nodePackage(directory),
    ]);
    for (const file of [path, node]) await host.copyIn(file, '/root');
    // Debian's archive would have it.
    await host.run('dpkg -i /root/nodejs_*.deb');
    await host.run('systemd-run --unit echo socat TCP-LISTEN:80,bind=127.0.0.1,fork,reuseaddr EXEC:cat');
    return host;
  },
  (test, at) => {
    test('installs the package and makes the links; a second run changes nothing', async () => {
      const host = at();
      const first = await play(host);
      assert.match(first, /\bchanged=[1-9]\d* .*failed=0\b/);
      assert.is((await host.run('echo hello | nc -N 127.0.0.1 8080')).stdout, 'hello\n');
      assert.match(await play(host), /\bok=[1-9]\d* +changed=0 .*failed=0\b/);
    });

    test('puts right what was changed by hand, and deletes what is no more', async () => {
      const host = at();
      await host.run('wormhole delete 8080');
      assert.match(await play(host), /\bchanged=1 .*failed=0\b/);
      assert.is((await host.run('echo again | nc -N 127.0.0.1 8080')).stdout, 'again\n');
      const links = {
        wormhole_links: { other: '[Link]\nRecipe=url :8081 tail url :80\n' },
        wormhole_listen: true,
      };
      assert.match(await play(host, links), /\bchanged=4 .*failed=0\b/);
      assert.match(await succeeds(host, 'list'), /^other .*listening/m);
      assert.not.match(await succeeds(host, 'list'), /^8080 /m);
      assert.is.not((await host.run('ss -Hltn sport = :9999')).stdout, '');
      assert.match(await play(host, links), /\bok=[1-9]\d* +changed=0 .*failed=0\b/);
    });
  },
);

/** Runs the playbook on the host itself, and returns what Ansible says at the end. */
async function play(host: Host, variables: object = {}): Promise<string> {
  const [path] = (await host.run('ls /root/wormhole_*.deb')).stdout.trim().split('\n');
  const { stdout } = await host.run(
    [
      ...['ansible-playbook', '-c', 'local', '-i', 'localhost,', '-e'],
      ...[
        JSON.stringify({ wormhole_package: path, ...variables }),
        '/src/wormhole/examples/ansible/playbook.yml',
      ],
    ],
    { timeout: 180 },
  );
  return stdout.slice(stdout.indexOf('PLAY RECAP'));
}
