import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { buildPackage } from '../../build/package/package.ts';
import { succeeds } from './installed.ts';
import { nodePackage } from './node-package.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* What sets up machines: the role of examples/ansible, run by Debian's Ansible, and the user data of doc/install.md, run by cloud-init. */

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The user data of doc/install.md, as it stands there. */
const USER_DATA = /^```yaml\n(#cloud-config\n[\s\S]*?)^```$/m.exec(
  readFileSync(join(root, 'doc/install.md'), 'utf8'),
)?.[1];

const directory = mkdtempSync(join(tmpdir(), 'wormhole-provisioning-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

// The sources may be an archive, which has no commit.
process.env.SOURCE_DATE_EPOCH ??= '1764115200';

/** What the links lead to. */
const ECHO = 'systemd-run --unit echo socat -t 60 TCP-LISTEN:80,bind=127.0.0.1,fork,reuseaddr EXEC:cat';

labSuite(
  'setting machines up',
  async () => {
    const [host, path, node] = await Promise.all([
      boot({ name: 'provisioned', docker: false, packages: ['ansible-core', 'cloud-init', 'python3-apt'] }),
      buildPackage({ root, out: directory, version: '0.1.0' }),
      nodePackage(directory),
    ]);
    for (const file of [path, node]) await host.copyIn(file, '/root');
    // Debian's archive would have it.
    await host.run('dpkg -i /root/nodejs_*.deb');
    await host.run(ECHO);
    return host;
  },
  (test, at) => {
    test('the Ansible role installs the package and makes the links; a second run changes nothing', async () => {
      const host = at();
      const first = await play(host);
      assert.match(first, /\bchanged=[1-9]\d* .*failed=0\b/);
      assert.is((await host.run('echo hello | nc -N 127.0.0.1 8080')).stdout, 'hello\n');
      assert.match(await play(host), /\bok=[1-9]\d* +changed=0 .*failed=0\b/);
    });

    test('the Ansible role puts right what was changed by hand, and deletes what is no more', async () => {
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

    test('cloud-init installs the package and makes the links at the first boot, and says what is wrong with a file', async () => {
      const host = at();
      assert.ok(USER_DATA, 'doc/install.md has user data');
      const [url = ''] = /https:[^"]+/.exec(USER_DATA) ?? [];
      await host.run(
        `apt-get purge -y wormhole; mkdir /srv/packages; mv /root/wormhole_*.deb /srv/packages/${basename(url)}`,
      );
      await host.run('tee /srv/packages/serve.service', { input: SERVER });
      await host.run('tee /etc/cloud/cloud.cfg.d/99_lab.cfg', { input: MODULES });
      await host.run('systemctl enable --now /srv/packages/serve.service');
      const [good, bad] = ['url :80', 'urk :80'].map((tail) =>
        USER_DATA.replace(url, `http://127.0.0.1:8000/${basename(url)}`).replace(
          'tail url :80',
          `tail ${tail}`,
        ),
      );
      await host.run('tee /root/user-data', { input: good ?? '' });
      assert.match(
        (await host.run('cloud-init schema --config-file /root/user-data')).stdout,
        /^Valid cloud-config/m,
      );
      assert.match(await firstBoot(host, good ?? ''), /^created link 8080 tcp:\/\/127\.0\.0\.1:8080\n/m);
      assert.match((await host.run('cloud-init status')).stdout, /^status: done$/m);
      await host.run(ECHO);
      assert.is((await host.run('echo hello | nc -N 127.0.0.1 8080')).stdout, 'hello\n');
      assert.is((await host.run('systemctl is-enabled wormhole-apply.path')).stdout, 'enabled\n');
      await host.run('apt-get purge -y wormhole; rm -rf /etc/wormhole');
      const reason = /^wormhole: \/etc\/wormhole\/links\.d\/8080\.wormhole:2: word 4, "urk"[^\n]*\n/m;
      assert.match(await firstBoot(host, bad ?? ''), reason);
      assert.match((await host.run('cloud-init status', { check: false })).stdout, /^status: error$/m);
    });
  },
);

/** What serves the package, and what is behind the link. */
const SERVER = `[Unit]
Before=cloud-final.service
[Service]
ExecStart=python3 -m http.server --bind 127.0.0.1 --directory /srv/packages 8000
ExecStartPost=sh -c 'until nc -z 127.0.0.1 8000; do sleep 0.1; done'
[Install]
WantedBy=multi-user.target
`;

/** The modules that the user data need: those that Debian enables set up more than a host of the lab has. */
const MODULES = `datasource_list: [NoCloud]
cloud_init_modules: [write-files]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user, final-message]
`;

/** Boots the host as a new instance with this user data, and returns what cloud-init's commands printed. */
async function firstBoot(host: Host, data: string): Promise<string> {
  const seed = '/var/lib/cloud/seed/nocloud';
  await host.run(
    `cloud-init clean --logs; mkdir -p ${seed} && echo 'local-hostname: provisioned' >${seed}/meta-data`,
  );
  await host.run(`tee ${seed}/user-data`, { input: data });
  await host.reboot({ allowFailed: true });
  await host.run('cloud-init status --wait', { timeout: 120, check: false });
  return (await host.run('cat /var/log/cloud-init-output.log')).stdout;
}

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
