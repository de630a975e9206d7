import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import * as assert from 'uvu/assert';
import { composeV2 } from './compose.ts';
import { installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* Links that labels of containers ask for, with docker run and with the Compose file of the README. */

/** The Compose file of the README, as it stands there. */
const COMPOSE = /^```yaml\n(services:\n[\s\S]*?)^```$/m.exec(
  readFileSync(new URL('../../README.md', import.meta.url), 'utf8'),
)?.[1];

const TOOLS = 'docker run -d --network none';
const SERVER = (name: string, port: number) =>
  `${TOOLS} --name ${name} wormhole/tools socat TCP-LISTEN:${port},fork,reuseaddr EXEC:"echo ${name}"`;
const client = (name: string, labels: string[], more = '') =>
  `${TOOLS} --name ${name} ${labels.map((label) => `--label '${label}'`).join(' ')} ${more} wormhole/tools sleep infinity`;

const ids = async (host: Host): Promise<string[]> =>
  JSON.parse((await wormhole(host, 'list --json')).stdout)
    .map(({ id }: { id: string }) => id)
    .sort();

async function hasLinks(host: Host, wanted: string[]): Promise<void> {
  await host
    .waitFor(async () => String(await ids(host)) === String(wanted), { timeout: 30, what: `links ${wanted}` })
    .catch(async () => assert.equal(await ids(host), wanted));
}

/** What a port says in a container, or on the host. */
async function ask(host: Host, port: number, container?: string): Promise<string> {
  const nc = `timeout 20 nc -N 127.0.0.1 ${port} </dev/null`;
  const run = container === undefined ? host.run : host.container(container).runInNetwork;
  return (await run(nc, { check: false })).stdout.trim();
}

async function answers(host: Host, wanted: string, port: number, container?: string): Promise<void> {
  await host.waitFor(async () => (await ask(host, port, container)) === wanted, {
    timeout: 20,
    what: `${wanted} at port ${port} of ${container ?? 'the host'}`,
  });
}

/** The lines of the journal about labels that hold a text. */
const told = async (host: Host, text: string) =>
  (await host.journal('-t', 'wormhole-labels', '-o', 'cat'))
    .split('\n')
    .filter((line) => line.includes(text));

/** Waits until the service has ended, so that nothing but the path unit watches. */
const rests = (host: Host) =>
  host.waitFor(
    async () =>
      (
        await host.run(
          // One that has ended may have had the other one queued, which is not active yet.
          'systemctl is-active wormhole-labels wormhole-labels-again; systemctl list-jobs --no-legend "wormhole-labels*"',
          { check: false },
        )
      ).stdout === 'inactive\ninactive\n',
    { timeout: 60, what: 'wormhole-labels.service to end' },
  );

/** Makes `docker compose` that of Compose v2. */
async function installComposeV2(host: Host): Promise<void> {
  const plugins = '/usr/libexec/docker/cli-plugins';
  const program = await composeV2();
  await host.copyIn(program, '/root');
  await host.run(
    `mkdir -p ${plugins} && install -m 755 /root/${basename(program)} ${plugins}/docker-compose && rm /root/${basename(program)}`,
  );
}

labSuite(
  'links of labels',
  () => installedHost({ name: 'labelled', packages: ['docker-compose'] }),
  (test, at) => {
    test('labels do nothing until they are enabled; then the link comes', async () => {
      const host = at();
      await host.run(SERVER('db', 7000));
      await host.run(SERVER('other', 7000));
      await host.run(client('app', ['wormhole.link.db=url :7000 tail docker-ns db']));
      await host.run('sleep 3');
      assert.equal(await ids(host), []);
      await host.run('systemctl enable --now wormhole-labels.path');
      await host.run('systemctl start wormhole-labels.service', { timeout: 60 });
      await hasLinks(host, ['app.db']);
      await answers(host, 'db', 7000, 'app');
      assert.match(
        (await host.run('systemctl cat wormhole-app.db.socket')).stdout,
        /^Label=app wormhole\.link\.db$/m,
      );
    });

    test('comes with its container, follows restarts, and goes with the container, stopped or not', async () => {
      const host = at();
      await rests(host);
      await host.run(
        client('two', [
          'wormhole.link.db=url :7000 tail docker-ns other',
          'wormhole.expose.x=url :7100 tail url :7000',
        ]),
      );
      await hasLinks(host, ['app.db', 'two.db', 'two.x']);
      await answers(host, 'other', 7000, 'two');
      await answers(host, 'other', 7100);
      await answers(host, 'db', 7000, 'app');
      await host.run('docker restart -t 0 two');
      await answers(host, 'other', 7100);
      await host.run('docker stop -t 0 two');
      await rests(host);
      assert.equal(await ids(host), ['app.db', 'two.db', 'two.x']);
      await host.run('docker rm two');
      await hasLinks(host, ['app.db']);
    });

    test('a container that is recreated with another label has its link changed in place', async () => {
      const host = at();
      // The labels are read when both has happened, within the time for which the link of a container that is gone is kept.
      const services = ['wormhole-labels.service', 'wormhole-labels-again.service'];
      const directories = services.map((service) => `/run/systemd/system/${service}.d`).join(' ');
      await host.run(
        `for directory in ${directories}; do
           mkdir -p $directory; printf '[Service]\\nExecStartPre=sh -c "until test -e /run/app-is-back; do sleep 0.1; done"\\n' >$directory/late.conf
         done
         systemctl daemon-reload`,
      );
      // What has begun before does not wait.
      await host.waitFor(
        async () =>
          /^(dead|start-pre)\n\n(dead|start-pre)\n$/.test(
            (await host.run(`systemctl show -P SubState ${services.join(' ')}`)).stdout,
          ),
        { timeout: 60, what: 'the labels to be read no more' },
      );
      await host.run(
        `docker rm -f app; ${client('app', ['wormhole.link.db=url :7000 tail docker-ns other'])}; touch /run/app-is-back`,
      );
      await answers(host, 'other', 7000, 'app');
      await rests(host);
      assert.equal(await ids(host), ['app.db']);
      assert.is((await told(host, 'changed link app.db')).length, 1);
      assert.is((await told(host, 'deleted link app.db')).length, 0);
      assert.is((await told(host, 'created link app.db')).length, 1);
      await host.run(`rm -r ${directories} /run/app-is-back; systemctl daemon-reload`);
      await rests(host);
    });

    test('a container that comes when nothing watches gets its links all the same', async () => {
      const host = at();
      await rests(host);
      // systemd watches again when the service is quite dead; it looks no more once it stops.
      const directory = '/run/systemd/system/wormhole-labels.service.d';
      await host.run(
        `mkdir -p ${directory}; printf '[Service]\\nExecStopPost=sh -c "until test -e /run/late-ends; do sleep 0.1; done"\\n' >${directory}/late.conf; systemctl daemon-reload`,
      );
      await host.run(client('early', ['wormhole.link.db=url :7000 tail docker-ns other']));
      await host.run(
        'until [ "$(systemctl show -P SubState wormhole-labels.service)" = stop-post ]; do sleep 0.1; done',
        { timeout: 60 },
      );
      // Nothing else starts it: dockerd takes files of namespaces away a minute after their containers.
      await host.run('systemctl stop wormhole-labels.path');
      await host.run(client('late', ['wormhole.link.db=url :7000 tail docker-ns other']));
      assert.is((await host.run('systemctl show -P SubState wormhole-labels.service')).stdout, 'stop-post\n');
      await host.run('touch /run/late-ends');
      await hasLinks(host, ['app.db', 'early.db', 'late.db']);
      await host.run(
        `rm -r ${directory} /run/late-ends; systemctl daemon-reload; systemctl start wormhole-labels.path`,
      );
      await rests(host);
      await host.run('docker rm -f early late');
      await hasLinks(host, ['app.db']);
    });

    test('what a label may not say is refused with one line, told once, and list has it', async () => {
      const host = at();
      await succeeds(host, 'create id bad.mine url :7300 tail url :7000');
      const image =
        'printf \'FROM wormhole/tools\\nLABEL wormhole.expose.image="url :7400"\\n\' | docker build -q -t labelled -';
      await host.run(image, { timeout: 120 });
      const refused: [string, string, RegExp][] = [
        ['wormhole.lnk.a', 'url :1 tail docker-ns db', /no such label of Wormhole/],
        ['wormhole.link.host', 'url :1 tail url :22', /tail of a label is docker-ns/],
        ['wormhole.link.run', 'url :1 trigger docker-run "-v /:/host db"', /cannot say "trigger"/],
        ['wormhole.link.far', 'url :1 remote box tail docker-ns db', /cannot say "remote"/],
        [
          'wormhole.link.path',
          'url :1 tail url unix:///run/docker.sock docker-ns db',
          /a path is one of this host/,
        ],
        ['wormhole.link.netns', 'url :1 tail url blue@:1', /cannot name a network namespace/],
        ['wormhole.link.hostnet', 'url :1 tail docker-ns hostnet', /namespace of this host/],
        ['wormhole.expose.low', 'url 0.0.0.0:22', /the port is not one of ExposePorts=/],
        [
          'wormhole.link.mine',
          'url :1 tail docker-ns db',
          /link "bad\.mine" exists, and was made from no label/,
        ],
        ['wormhole.link.none', 'url :1 tail docker-ns nobody', /no container "nobody"/],
        ['wormhole.\u001b[31m', '', /no such label of Wormhole/],
      ];
      await host.run('docker run -d --network host --name hostnet wormhole/tools sleep infinity');
      const labels = refused.map(([key, value]) => `${key}=${value}`);
      await host.run(client('bad', labels).replace('wormhole/tools', 'labelled'));
      const lines = () => told(host, 'container "bad"');
      await host.waitFor(async () => (await lines()).length >= refused.length + 1, {
        timeout: 30,
        what: 'the lines',
      });
      await host.run('docker restart -t 0 bad');
      await rests(host);
      const all = await lines();
      const list = `\n${(await wormhole(host, 'list')).stderr}`;
      for (const [key, , reason] of [
        ...refused,
        ['wormhole.expose.image', '', /labels of images do not count/] as const,
      ]) {
        const shown = `container "bad", label "${key.replace('\u001b', '\ufffd')}": `;
        const own = all.filter((line) => line.includes(shown));
        assert.is(own.length, 1, `${key}: ${own.join('\n')}`);
        assert.match(own[0] ?? '', reason);
        assert.ok(list.includes(`\nwormhole: ${shown}`), `${shown} in ${list}`);
      }
      assert.is(all.length, refused.length + 1, all.join('\n'));
      const event = (name: string) =>
        host.journal('-o', 'cat', '-t', 'wormhole-labels', `WORMHOLE_EVENT=${name}`);
      assert.ok((await event('refused')).includes(all[0] as string));
      assert.match(await event('changed'), /^created link \S+ /m);
      assert.equal(await ids(host), ['app.db', 'bad.mine']);
      // dockerd takes files of namespaces away a minute later, which starts the service again.
      await host.waitFor(
        async () =>
          /Status: "container "bad", label ".*11 more: wormhole list"/.test(
            (await host.run('systemctl status wormhole-labels', { check: false })).stdout,
          ),
        { timeout: 30, what: 'the status to tell of the faults' },
      );
      assert.is(await host.failedUnits(), '');
      await host.run('docker rm -f bad hostnet');
      await host.waitFor(async () => !(await wormhole(host, 'list')).stderr.includes('bad'), {
        timeout: 30,
        what: 'the faults to go',
      });
      await succeeds(host, 'delete bad.mine');
    });

    test('the administrator restricts what is exposed, also what is exposed already', async () => {
      const host = at();
      await host.run(
        client('web', [
          'wormhole.expose.a=url :7500 tail url :7000',
          'wormhole.expose.b=url :8500 tail url :7000',
        ]),
      );
      await hasLinks(host, ['app.db', 'web.a', 'web.b']);
      await host.run(
        "printf '[Labels]\\nExposePorts=8000-8999\\nExposeAddresses=127.0.0.1\\n' > /etc/wormhole/labels.conf",
      );
      await hasLinks(host, ['app.db', 'web.b']);
      await host.run("printf '[Labels]\\nExposePorts=x\\n' > /etc/wormhole/labels.conf");
      await host.waitFor(async () => (await told(host, '/etc/wormhole/labels.conf:2: ')).length > 0, {
        timeout: 30,
        what: 'the fault',
      });
      assert.equal(await ids(host), ['app.db', 'web.b']);
      // Where it is may be mounted later. Without the file, more would be permitted than its administrator wants.
      await host.run('ln -sfn /mnt/labels.conf /etc/wormhole/labels.conf');
      await host.waitFor(async () => (await told(host, '/etc/wormhole/labels.conf:1: ENOENT')).length > 0, {
        timeout: 30,
        what: 'the fault',
      });
      assert.equal(await ids(host), ['app.db', 'web.b']);
      await host.run('rm /etc/wormhole/labels.conf; docker rm -f web');
      await hasLinks(host, ['app.db']);
    });

    test('killed at any moment, it goes on', async () => {
      const host = at();
      const names = [1, 2, 3].map((n) => `k${n}`);
      for (const name of names)
        await host.run(client(name, ['wormhole.link.db=url :7000 tail docker-ns db']));
      for (let kills = 0; kills < 3; kills++) {
        await host.run(
          'systemctl start --no-block wormhole-labels; sleep 0.8; systemctl kill -s KILL wormhole-labels',
          { check: false },
        );
      }
      await hasLinks(host, ['app.db', ...names.map((name) => `${name}.db`)]);
      for (const name of names) await answers(host, 'db', 7000, name);
      await host.run(`docker rm -f ${names.join(' ')}`);
      await host.run('sleep 3.5; systemctl kill -s KILL wormhole-labels', { check: false });
      await hasLinks(host, ['app.db']);
      assert.is(await host.failedUnits(), '');
    });

    for (const [version, compose, joint] of [
      ['1', 'docker-compose', '_'],
      ['2', 'docker compose', '-'],
    ] as const) {
      test(`the Compose file of the README, with Compose v${version}`, async () => {
        const host = at();
        assert.ok(COMPOSE, 'the README has a Compose file');
        if (version === '2') await installComposeV2(host);
        assert.match((await host.run(`${compose} version --short`)).stdout, new RegExp(`^v?${version}\\.`));
        // Not the database of the other tests, which a label means only outside of a project.
        await host.run('mkdir -p /root/shop && tee /root/shop/docker-compose.yml', { input: COMPOSE });
        await host.run(`cd /root/shop && ${compose} up -d`, { timeout: 120 });
        const page = async () =>
          (await host.run('curl -sS -m 20 -L http://127.0.0.1:8080/wp-admin/install.php', { check: false }))
            .stdout;
        await host.waitFor(async () => /<title>WordPress/.test(await page()), {
          timeout: 60,
          what: 'WordPress with its database',
        });
        const [link, database] = ['wordpress_1.db', 'db_1'].map((name) =>
          `shop_${name}`.replaceAll('_', joint),
        );
        assert.match((await wormhole(host, 'list')).stdout, new RegExp(`^${link} .*${database}`, 'm'));
        await host.run(`cd /root/shop && ${compose} up -d --force-recreate`, { timeout: 120 });
        await host.waitFor(async () => /<title>WordPress/.test(await page()), {
          timeout: 60,
          what: 'WordPress again',
        });
        await host.run(`cd /root/shop && ${compose} down`, { timeout: 120 });
        await hasLinks(host, ['app.db']);
      });
    }

    test('a link of a label is in no file; one that a file takes over is none of the label', async () => {
      const host = at();
      // Else the link would come back as soon as it is deleted.
      await host.run('systemctl disable --now wormhole-labels.path');
      await rests(host);
      assert.is(await succeeds(host, 'apply --prune'), '');
      const exported = await wormhole(host, 'export');
      assert.is(exported.stdout, '');
      assert.match(exported.stderr, /link "app\.db" is in no file: a label .*, app wormhole\.link\.db\n/);
      const deleted = await wormhole(host, 'delete app.db');
      assert.match(deleted.stderr, /its label stays, app wormhole\.link\.db/);
      assert.match(await succeeds(host, 'labels'), /^created link app\.db /);
      const file = '/etc/wormhole/links.d/app.db.wormhole';
      await host.run(`wormhole export app.db >${file} && wormhole apply`);
      const other = await wormhole(host, 'labels');
      assert.is(other.status, 1);
      assert.match(other.stderr, /^wormhole: container "app", .* was made from no label: .*\n$/);
      await host.run(`rm ${file} && wormhole apply --prune && wormhole labels`);
      await answers(host, 'other', 7000, 'app');
    });

    test('labels --delete-all leaves nothing', async () => {
      const host = at();
      assert.match(await succeeds(host, 'labels --dry-run --delete-all'), /^would delete link app\.db$/);
      assert.match(
        await succeeds(host, 'labels --delete-all'),
        /^deleted link app\.db, of label app wormhole\.link\.db$/,
      );
      assert.match(await succeeds(host, 'labels --dry-run'), /^would create link app\.db$/);
      await host.run('docker rm -f app db other');
      assert.is(await succeeds(host, 'labels'), '');
      await leavesNothing(host);
    });
  },
);
