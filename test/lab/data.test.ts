import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* What becomes of the data of on-demand containers. */

/** Answers a line with the file /data/notes, to which it appends the line first; "-" only reads. */
const NOTES =
  'socat -t 20 TCP-LISTEN:7000,fork,reuseaddr SYSTEM:"read line; [ $line = - ] || echo $line >>/data/notes; cat /data/notes"';

const DOCKERFILE = `FROM wormhole/tools
RUN mkdir /data && echo seed >/data/notes
VOLUME /data
CMD ["socat", "-t", "20", "TCP-LISTEN:7000,fork,reuseaddr", "SYSTEM:read line; [ $line = - ] || echo $line >>/data/notes; cat /data/notes"]
`;

labSuite(
  'the data of on-demand containers',
  async () => {
    const host = await installedHost({ name: 'data' });
    await host.run('docker build -q -t notes -', { input: DOCKERFILE });
    return host;
  },
  (test, at) => {
    test('a volume that an image declares has a name, labels, and the content of the image', async () => {
      const host = at();
      await succeeds(host, 'create id db url :4000 trigger url :7000 docker-run notes');
      assert.is(await note(host, 4000, 'one'), 'seed\none\n');
      const [volume] = JSON.parse((await host.run('docker volume inspect wormhole-db-data')).stdout);
      assert.equal(volume.Labels, {
        'wormhole.link': 'db',
        'wormhole.run': 'db',
        'wormhole.path': '/data',
      });
      const [db] = JSON.parse(await succeeds(host, 'list --json'));
      assert.equal(db.volumes, [{ name: 'wormhole-db-data', path: '/data' }]);
    });

    for (const prune of [
      'docker system prune -f',
      'docker system prune -f --volumes',
      'docker volume prune -f',
    ])
      test(`a sleeping link keeps its volume over ${prune}, and says loudly what is lost`, async () => {
        const host = at();
        const before = await note(host, 4000, '-');
        await succeeds(host, 'sleep db');
        await host.waitFor(async () => (await host.run('docker ps -q')).stdout === '', {
          what: 'both containers to be stopped',
        });
        if (prune.includes('volume prune')) await host.run('docker container prune -f');
        await host.run(prune);
        assert.is((await host.run('docker ps -aq')).stdout, '');
        const since = await now(host);
        assert.is(await note(host, 4000, '-'), before);
        assert.match(
          await host.journal(`--since=@${since}`, '-p', 'err', '-o', 'cat', '-t', 'wormhole-db-run'),
          /^link db: DATA LOST: container "wormhole-db", which was kept for its data, is gone, .* What it had written outside volumes is lost; volume "wormhole-db-data" at \/data is kept with its data\. .*: wormhole start db$/m,
        );
        assert.match(
          await host.journal('-o', 'cat', 'WORMHOLE_LINK=db', 'WORMHOLE_EVENT=data-lost'),
          /^link db: DATA LOST: /m,
        );
        assert.match(
          await succeeds(host, 'list'),
          /^db .* its container was removed and created again \S+: what was not in a volume is lost; wormhole start db acknowledges it$/m,
        );
        await succeeds(host, 'sleep db');
        assert.is(await note(host, 4000, '-'), before);
        assert.match(await succeeds(host, 'list'), /created again/, 'until it is acknowledged');
        await succeeds(host, 'start db');
        assert.not.match(await succeeds(host, 'list'), /created again/);
      });

    test('a container that is killed before it is recorded is told of all the same', async () => {
      const host = at();
      await host.run('docker rm -f wormhole-db && systemctl stop wormhole-db-run.service');
      // As after a kill between both: a new container, and the record of the old one.
      const record = (await host.run('cat /var/lib/wormhole/runs/db')).stdout;
      await note(host, 4000, '-');
      await succeeds(host, 'start db');
      await host.run('tee /var/lib/wormhole/runs/db', { input: record });
      await succeeds(host, 'sleep db');
      await note(host, 4000, '-');
      assert.match(await succeeds(host, 'list'), /^db .* created again/m);
      await succeeds(host, 'start db');
    });

    test('delete leaves the volume and says so; list names it; the same id has it again', async () => {
      const host = at();
      await note(host, 4000, 'two');
      const { stderr, status } = await wormhole(host, 'delete db');
      assert.is(
        stderr,
        'wormhole: link "db": volume "wormhole-db-data" stays, with its data: wormhole delete --volumes db removes it\n',
      );
      assert.is(status, 0);
      await leavesNothing(host);
      const line =
        'deleted link db: volume "wormhole-db-data" stays, with its data: wormhole delete --volumes db removes it';
      assert.ok((await succeeds(host, 'list')).endsWith(`\n${line}`));
      assert.ok((await succeeds(host, '-H unix:///run/wormhole.sock list')).endsWith(`\n${line}`));
      const [left, ...others] = JSON.parse(await succeeds(host, 'list --json'));
      assert.equal(others, []);
      assert.is(left.state, 'deleted');
      assert.equal(left.volumes, [{ name: 'wormhole-db-data', path: '/data' }]);

      await succeeds(host, 'create id db url :4000 trigger url :7000 docker-run notes');
      const since = await now(host);
      assert.is(await note(host, 4000, '-'), 'seed\none\ntwo\n');
      assert.match(
        await host.journal(`--since=@${since}`, '-o', 'cat', '-t', 'wormhole-db-run'),
        /^link db: container "wormhole-db" has volume "wormhole-db-data" at \/data, with the data of an earlier link or container$/m,
      );
    });

    test('list names volumes for root alone, and neither needs nor starts an engine', async () => {
      const host = at();
      assert.is((await wormhole(host, 'delete db')).status, 0);
      assert.match(await succeeds(host, 'list'), /^deleted link db: /m);
      const asNobody = 'setpriv --reuid=65534 --regid=65534 --clear-groups wormhole list';
      assert.not.match((await host.run(asNobody)).stdout, /deleted/);
      await host.run('systemctl stop docker.socket docker && systemctl start docker.socket');
      assert.not.match(await succeeds(host, 'list'), /deleted/);
      await fails(host, 'delete --volumes db', /Docker is not running \(docker\.service is inactive\)/);
      assert.is(
        (await host.run('systemctl is-active docker.service', { check: false })).stdout,
        'inactive\n',
      );
      await host.run('systemctl start docker');
      assert.match(await succeeds(host, 'list'), /deleted link db/);
    });

    test('delete --volumes: of a deleted link, of an existing one, over -H; an id that has nothing', async () => {
      const host = at();
      assert.is(await succeeds(host, 'delete --volumes db'), '');
      assert.is((await host.run('docker volume ls -q')).stdout, '');
      await fails(host, 'delete --volumes db', /no link "db": see wormhole list/);
      for (const command of [
        'delete --volumes db',
        '-H unix:///run/wormhole.sock delete --volumes db',
        'delete --volumes --all',
      ]) {
        await succeeds(host, 'create id db url :4000 trigger url :7000 docker-run notes');
        assert.is(await note(host, 4000, 'x'), 'seed\nx\n');
        await succeeds(host, command);
        assert.is((await host.run('docker ps -aq; docker volume ls -q')).stdout, '', command);
      }
      await fails(host, '-H unix:///run/wormhole.sock delete --volumes db', /no link "db"/);
      await leavesNothing(host);
    });

    test('a child keeps its volume too, and one line names all', async () => {
      const host = at();
      await succeeds(
        host,
        "create id web url :4001 trigger url :7001 docker-run '-v /cache wormhole/tools socat -t 60 TCP-LISTEN:7001,fork TCP:127.0.0.1:7000' child id base url :7000 trigger docker-run notes",
      );
      assert.is(await note(host, 4001, 'deep'), 'seed\ndeep\n');
      const { stderr } = await wormhole(host, 'delete web');
      assert.is(
        stderr,
        'wormhole: link "web": volume "wormhole-base-data", "wormhole-web-cache" stays, with its data: wormhole delete --volumes base web removes it\n',
      );
      await succeeds(host, 'delete --volumes base web');
      assert.is((await host.run('docker volume ls -q')).stdout, '');
    });

    test('delete --keep leaves the container with what it has written, and it can be started', async () => {
      const host = at();
      const create = `create id db url :4000 trigger url :7000 docker-run 'wormhole/tools sh -c "mkdir -p /data; exec socat -t 20 TCP-LISTEN:7000,fork,reuseaddr SYSTEM:\\"read line; echo \\$line >>/data/notes; cat /data/notes\\""'`;
      await succeeds(host, create);
      assert.is(await note(host, 4000, 'inside'), 'inside\n');
      const id = await host.container('wormhole-db').inspect('{{.Id}}');
      await fails(host, 'delete --keep --volumes db', /--keep or --volumes, not both/, 2);
      const kept = (name: string) =>
        `wormhole: link "db": its container stays, stopped, as "${name}": docker start ${name}-netns ${name} starts it, docker rm ${name}-netns ${name} removes it\n`;
      assert.is((await wormhole(host, 'delete --keep db')).stderr, kept('wormhole-db-kept'));
      await leavesNothing(host);
      assert.not.match((await wormhole(host, 'doctor --fix')).stdout, /wormhole-db-kept/);
      assert.is(
        await host.container('wormhole-db-kept').inspect('{{.Id}} {{.State.Running}}'),
        `${id} false`,
      );

      await succeeds(host, create);
      assert.is(await note(host, 4000, 'new'), 'new\n', 'a new link has a container of its own');
      assert.is(
        (await wormhole(host, '-H unix:///run/wormhole.sock delete --keep db')).stderr.split('\n')[0],
        kept('wormhole-db-kept-2').trim(),
      );
      await host.run('docker start wormhole-db-kept-netns wormhole-db-kept');
      const { stdout } = await host.container('wormhole-db-kept').run('cat /data/notes');
      assert.is(stdout, 'inside\n');
      await host.run('docker rm -f $(docker ps -aq)');
      await leavesNothing(host);
    });

    test("a volume that is not the link's is not used, and not removed", async () => {
      const host = at();
      await host.run('docker volume create wormhole-db-data');
      await succeeds(host, 'create id db url :4000 trigger url :7000 docker-run notes');
      assert.is(await note(host, 4000, '-'), '');
      assert.match(
        await host.journal('-b', '-o', 'cat', '-t', 'wormhole-db-run'),
        /volume "wormhole-db-data" exists and is not a volume of a link: remove it, or name a volume for \/data with -v NAME:\/data/,
      );
      await succeeds(host, 'delete --volumes db');
      assert.is((await host.run('docker volume ls -q')).stdout, 'wormhole-db-data\n');
      await host.run('docker volume rm wormhole-db-data');
    });

    test('a volume in use by another container is left by delete --volumes, which fails and says so', async () => {
      const host = at();
      await succeeds(host, 'create id db url :4000 trigger url :7000 docker-run notes');
      await note(host, 4000, 'x');
      await host.run('docker run -d --name backup -v wormhole-db-data:/from wormhole/tools sleep infinity');
      await fails(host, 'delete --volumes db', /volume "wormhole-db-data" cannot be removed: .*in use/);
      await leavesNothing(host);
      await host.run('docker rm -f backup');
      await succeeds(host, 'delete --volumes db');
    });

    test('a create that fails leaves no volume of its own, and one of an earlier link untouched', async () => {
      const host = at();
      const eager = "create id db url :4000 tail url :7000 docker-run 'notes false'";
      await fails(host, eager, /link "db" could not be started|link db/);
      assert.is((await host.run('docker volume ls -q')).stdout, '');
      await succeeds(host, 'create id db url :4000 trigger url :7000 docker-run notes');
      await note(host, 4000, 'x');
      await wormhole(host, 'delete db');
      await fails(host, eager, /link "db" could not be started|link db/);
      assert.is((await host.run('docker volume ls -q')).stdout, 'wormhole-db-data\n');
      await succeeds(host, 'delete --volumes db');
    });

    test("anonymous volumes of docker-run, beside named ones, which are the user's", async () => {
      const host = at();
      await succeeds(
        host,
        `create id db url :4000 trigger url :7000 docker-run '-v /data --mount type=volume,dst=/m -v mine:/mine --tmpfs /tmp2 wormhole/tools ${NOTES}'`,
      );
      assert.is(await note(host, 4000, 'x'), 'x\n');
      assert.is((await host.run('docker volume ls -q')).stdout, 'mine\nwormhole-db-data\nwormhole-db-m\n');
      await succeeds(host, 'delete --volumes db');
      assert.is((await host.run('docker volume ls -q')).stdout, 'mine\n');
      await host.run('docker volume rm mine');
    });

    test('a record that cannot be written does not keep the container from its work', async () => {
      const host = at();
      await host.run('rm -rf /var/lib/wormhole/runs && touch /var/lib/wormhole/runs');
      await succeeds(host, 'create id db url :4000 trigger url :7000 docker-run notes');
      assert.is(await note(host, 4000, 'x'), 'seed\nx\n');
      assert.match(
        await host.journal('-b', '-p', 'err', '-o', 'cat', '-t', 'wormhole-db-run'),
        /^link db: container "wormhole-db" cannot be recorded \(E/m,
      );
      await host.run('rm /var/lib/wormhole/runs');
      await succeeds(host, 'delete --volumes db');
      await leavesNothing(host);
    });
  },
);

/** Sends a line to a port of the host's 127.0.0.1, and returns the answer. */
async function note(host: Host, port: number, line: string): Promise<string> {
  const { stdout } = await host.run(`echo ${line} | timeout 60 nc -N 127.0.0.1 ${port}`, {
    check: false,
    timeout: 90,
  });
  return stdout;
}

async function now(host: Host): Promise<string> {
  return (await host.run('date +%s')).stdout.trim();
}
