import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/*
 * Docker reads what is no name as the beginning of an id. These tests give a link a container whose name is the beginning of
 * a bystander's id, and remove it: from then on, each question by that name is answered with the bystander.
 */

/** A server that answers with the line `what`. */
const server = (what: string) => `wormhole/tools socat TCP-LISTEN:7000,fork,reuseaddr SYSTEM:"echo ${what}"`;

/** A container that is no part of any link, and the beginning of its id. */
interface Bystander {
  id: string;
  prefix: string;
}

/** Starts a bystander, which listens where the link's own container does. */
async function bystander(host: Host, name: string): Promise<Bystander> {
  const { stdout } = await host.run(`docker run -d --network none --name ${name} ${server(name)}`);
  const id = stdout.trim();
  return { id, prefix: id.slice(0, 4) };
}

/** When a container was last started and stopped, and whether it runs. */
const history = (host: Host, id: string) =>
  host.container(id).inspect('{{.State.StartedAt}} {{.State.FinishedAt}} {{.State.Running}}');

const ask = async (host: Host, port: number) =>
  (await host.run(`timeout 120 nc 127.0.0.1 ${port} </dev/null`, { check: false, timeout: 150 })).stdout;

labSuite(
  'only a container of exactly that name counts',
  () => installedHost({ name: 'names' }),
  (test, at) => {
    test('a link whose container is gone waits, and no container whose id begins so takes its place', async () => {
      const host = at();
      const { id, prefix } = await bystander(host, 'stranger');
      await host.run(`docker run -d --network none --name ${prefix} ${server('ours')}`);
      await succeeds(host, `create id to url :7000 tail docker-ns ${prefix}`);
      await succeeds(host, `create id from url :7001 docker-ns ${prefix} tail url :7002`);
      assert.is(await ask(host, 7000), 'ours\n');

      await host.run(`docker rm -f ${prefix}`);
      assert.is(await host.container(prefix).inspect('{{.Id}}'), id, 'the engine means the bystander');
      const waits = async () => (await succeeds(host, 'list')).match(/waiting for container/g)?.length === 2;
      await host.waitFor(waits, { what: 'both links to wait' });
      assert.is(await ask(host, 7000), '');
      const listeners = await host.container(id).runInNetwork('ss -Hltn sport = :7001');
      assert.is(listeners.stdout, '', 'and nothing of ours listens in the bystander');
      const journal = await host.journal('-b', '-o', 'cat', '-u', `wormhole-netns@${prefix}.service`);
      assert.match(journal, new RegExp(`no container "${prefix}"`));

      await host.run(`docker run -d --network none --name ${prefix} ${server('ours again')}`);
      await host.waitFor(async () => (await ask(host, 7000)) === 'ours again\n', {
        what: 'the link to follow its own container',
      });
      for (const link of ['to', 'from']) await succeeds(host, `delete ${link}`);
      await host.run(`docker rm -f ${prefix} ${id}`);
    });

    test('trigger docker-ns neither starts nor stops a container whose id begins so', async () => {
      const host = at();
      const running = await bystander(host, 'running');
      const stopped = await bystander(host, 'stopped');
      await host.run(`docker stop -t 0 ${stopped.id}`);
      for (const { id, prefix } of [running, stopped]) {
        await host.run(`docker create --network none --name ${prefix} ${server('ours')}`);
        await succeeds(host, `create id t url :7000 idle 1s trigger docker-ns ${prefix}`);
        const before = await history(host, id);
        assert.is(await ask(host, 7000), 'ours\n');
        await host.run(`docker rm -f ${prefix}`);
        assert.is(await ask(host, 7000), '');
        const asleep = async () =>
          (await host.run('systemctl is-active wormhole-t-run.service', { check: false })).stdout !==
          'active\n';
        await host.waitFor(asleep, { timeout: 20, what: 'the link to sleep' });
        assert.is(await history(host, id), before);
        await succeeds(host, 'delete t');
        assert.is(await history(host, id), before);
      }
      await host.run(`docker rm -f ${running.id} ${stopped.id}`);
    });

    test('at create an id may be typed, or its beginning: the link keeps the name', async () => {
      const host = at();
      const { id } = await bystander(host, 'named');
      for (const reference of [id, id.slice(0, 12)]) {
        await succeeds(host, `create id kept url :7000 tail docker-ns ${reference}`);
        const [link] = JSON.parse(await succeeds(host, 'list --json'));
        assert.match(link.recipe, / docker-ns named$/);
        await succeeds(host, 'delete kept');
      }
      await host.run(`docker rm -f ${id}`);
    });

    test("a name that is another container's whole id", async () => {
      const host = at();
      const { id } = await bystander(host, 'shadow');
      const { stdout } = await host.run(`docker run -d --network none --name ${id} ${server('ours')}`);
      // To Docker, an id is an id first, and so it is to the person who types one.
      await succeeds(host, `create id shadowed url :7000 tail docker-ns ${id}`);
      assert.is(await ask(host, 7000), 'shadow\n');
      assert.match(await succeeds(host, 'list'), /in container shadow /);
      await succeeds(host, 'delete shadowed');
      await succeeds(host, `create id named url :7000 tail docker-ns ${stdout.trim()}`);
      assert.match(await succeeds(host, 'list'), new RegExp(`in container ${id} `));
      assert.is(await ask(host, 7000), 'ours\n');
      await succeeds(host, 'delete named');
      await host.run(`docker rm -f shadow ${stdout}`);
    });

    test('--name may be the beginning of the id of another container', async () => {
      const host = at();
      const { id, prefix } = await bystander(host, 'id');
      await succeeds(
        host,
        `create id n url :7000 idle 1s trigger docker-run '--name ${prefix} ${server('ours')}'`,
      );
      const before = await history(host, id);
      assert.is(await ask(host, 7000), 'ours\n');
      assert.is(
        (await host.run(`docker ps -a --format {{.Names}} --filter name=^/${prefix}$`)).stdout,
        `${prefix}\n`,
      );
      await succeeds(host, 'delete n');
      assert.is(await history(host, id), before);
      await host.run(`docker rm -f ${id}`);
    });

    test('an image whose id begins with the name of one that is missing is not run', async () => {
      const host = at();
      const id = (await host.run("docker image inspect -f '{{.Id}}' wormhole/tools")).stdout.trim();
      const prefix = id.replace('sha256:', '').slice(0, 4);
      await fails(
        host,
        `create --pull never url :7000 trigger docker-run ${prefix}`,
        new RegExp(`image "${prefix}" is missing.*an image whose id begins so.*whole`),
      );
      await host.run(`docker tag wormhole/mysql ${prefix}`);
      await succeeds(host, `create --pull never id i url :7000 trigger docker-run '${prefix} true'`);
      await host.run(`docker rmi ${prefix}`);
      assert.is(await ask(host, 7000), '');
      const journal = await host.journal('-b', '-o', 'cat', '-t', 'wormhole-i-run');
      assert.match(journal, new RegExp(`image "${prefix}" is missing`));
      assert.is(
        (await host.run('docker ps -aq --filter label=wormhole.link=i --filter name=wormhole-i$')).stdout,
        '',
      );
      await succeeds(host, 'delete i');
    });

    test('an image may be named in each way that names exactly one', async () => {
      const host = at();
      const id = (await host.run("docker image inspect -f '{{.Id}}' wormhole/tools")).stdout.trim();
      const names = [id, id.replace('sha256:', ''), 'wormhole/tools:latest', 'docker.io/wormhole/tools'];
      for (const image of names) {
        await succeeds(
          host,
          `create --pull never id i url :7000 trigger docker-run '${server('ours').replace('wormhole/tools', image)}'`,
        );
        assert.is(await ask(host, 7000), 'ours\n', image);
        await succeeds(host, 'delete i');
      }
    });

    test('a docker network whose id begins with the name of one that is gone is not joined', async () => {
      const host = at();
      const id = (await host.run('docker network create bystander')).stdout.trim();
      const prefix = id.slice(0, 4);
      await host.run(`docker network create ${prefix}`);
      await succeeds(
        host,
        `create id w url :7000 trigger docker-run '--network ${prefix} ${server('ours')}'`,
      );
      await host.run(`docker network rm ${prefix}`);
      assert.is(await ask(host, 7000), '');
      const members = "docker network inspect -f '{{len .Containers}}' bystander";
      assert.is((await host.run(members)).stdout, '0\n');
      const journal = await host.journal('-b', '-o', 'cat', '-u', 'wormhole-*');
      assert.match(journal, new RegExp(`no docker network "${prefix}"`));
      await host.run(`docker network create ${prefix}`);
      await host.waitFor(async () => (await ask(host, 7000)) === 'ours\n', {
        timeout: 30,
        what: 'the link to work',
      });
      await succeeds(host, 'delete w');
      await host.run(`docker network rm ${prefix} bystander`);
    });

    test('nothing is left', async () => {
      const host = at();
      await leavesNothing(host);
      assert.is((await host.run('docker ps -aq')).stdout, '');
    });
  },
);
