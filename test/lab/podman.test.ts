import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { images, imageTar } from './rig/image.ts';
import { labSuite } from './suite.ts';

const ECHO = 'wormhole/tools socat -t 60 TCP-LISTEN:80,fork,reuseaddr EXEC:cat';

labSuite(
  'Podman, on a host without Docker',
  async () => {
    const host = await installedHost({ name: 'podman', docker: false, packages: ['podman', 'runc'] });
    await importTools(host);
    return host;
  },
  (test, at) => {
    test('a link leads into a container without a network, and follows it', async () => {
      const host = at();
      await host.run(`podman run -d --name echo --network none ${ECHO}`);
      assert.is(
        await succeeds(host, 'create id a url :8000 tail url :80 docker-ns echo'),
        'a tcp://127.0.0.1:8000',
      );
      await answers(host, 8000);
      await host.run('podman restart -t 1 echo');
      await answers(host, 8000);
      await host.run('podman rm -f -t 1 echo');
      await host.waitFor(async () => /waiting for container echo/.test(await succeeds(host, 'list')), {
        what: 'the link to notice that its container is gone',
      });
      await host.run(`podman run -d --name echo --network none ${ECHO}`);
      await answers(host, 8000);
    });

    test('a head is in a container, and leads to another one', async () => {
      const host = at();
      await host.run('podman run -d --name app --network none wormhole/tools');
      await succeeds(host, 'create id b url :81 docker-ns app tail url :80 docker-ns echo');
      assert.is((await host.run('echo hi | podman exec -i app nc -N 127.0.0.1 81')).stdout, 'hi\n');
      await host.run('podman restart -t 1 app');
      await host.waitFor(
        async () =>
          (await host.run('echo hi | podman exec -i app nc -N 127.0.0.1 81', { check: false })).stdout ===
          'hi\n',
        { timeout: 20, what: 'the head to follow its container' },
      );
      await succeeds(host, 'delete a b');
      await host.run('podman rm -f -t 1 app');
    });

    test('a connection starts a container that is stopped, and idle stops it', async () => {
      const host = at();
      await host.run('podman stop -t 1 echo');
      await succeeds(host, 'create id c url :8001 idle 2s trigger url :80 docker-ns echo');
      assert.is((await host.run('echo hi | nc -N 127.0.0.1 8001', { timeout: 40 })).stdout, 'hi\n');
      await host.waitFor(async () => /^Exited/.test(await status(host, 'echo')), {
        timeout: 30,
        what: 'it to stop',
      });
      await host.reboot();
      assert.is((await host.run('echo hi | nc -N 127.0.0.1 8001', { timeout: 40 })).stdout, 'hi\n');
      await succeeds(host, 'delete c');
    });

    test('a link runs a container of its own, with a volume, and takes it along', async () => {
      const host = at();
      await succeeds(host, `create id d url :8002 idle 2s trigger url :80 docker-run "-v /data ${ECHO}"`);
      // It stays as long as there is a session.
      const during = (command: string) =>
        host.run(
          `exec 3<>/dev/tcp/127.0.0.1/8002; echo hi >&3; read -r line <&3; podman exec wormhole-d ${command}; echo $line`,
          { timeout: 60 },
        );
      assert.is((await during('sh -c "echo kept >/data/file"')).stdout, 'hi\n');
      await host.waitFor(async () => /^Exited/.test(await status(host, 'wormhole-d')), {
        timeout: 40,
        what: 'it to stop',
      });
      assert.is((await during('cat /data/file')).stdout, 'kept\nhi\n');
      await host.run('wormhole delete --volumes d');
      assert.is((await host.run('podman ps -aq --filter name=wormhole; podman volume ls -q')).stdout, '');
      await leavesNothing(host);
    });

    test('labels are for Docker, which is told in one line', async () => {
      const host = at();
      await fails(
        host,
        'labels',
        /^wormhole: labels need the Docker engine: this one, which may be Podman, does not list/,
      );
    });

    test('a closed socket, and a choice of neither engine, are told in one line', async () => {
      const host = at();
      await host.run('systemctl stop podman.socket podman.service');
      await fails(
        host,
        'create url :8003 tail docker-ns echo',
        /Podman's socket is closed .*: systemctl enable --now podman\.socket$/m,
      );
      await host.run('systemctl start podman.socket; echo nspawn >/etc/wormhole/engine');
      await fails(
        host,
        'create url :8003 tail docker-ns echo',
        /\/etc\/wormhole\/engine says "nspawn": it may say docker or podman/,
      );
      await host.run('rm /etc/wormhole/engine');
    });
  },
);

/** The lab's tools as an image of the host's Podman. */
async function importTools(host: Host): Promise<void> {
  const tools = images.find(({ name }) => name === 'wormhole/tools');
  if (!tools) throw new Error('the lab has no image wormhole/tools');
  const directory = mkdtempSync('/tmp/wormhole-podman-');
  try {
    // The cache marks what is used, and tar minds that.
    copyFileSync(await imageTar(tools), join(directory, 'tools.tar'));
    await host.copyIn(join(directory, 'tools.tar'), '/root');
  } finally {
    rmSync(directory, { recursive: true });
  }
  const changes = tools.changes.map((change) => `--change '${change}'`).join(' ');
  await host.run(`podman import ${changes} /root/tools.tar ${tools.name}`);
}

async function answers(host: Host, port: number): Promise<void> {
  const ask = async () =>
    (await host.run(`echo hi | timeout 10 nc -N 127.0.0.1 ${port}`, { check: false })).stdout === 'hi\n';
  await host.waitFor(ask, { timeout: 30, what: 'the container to answer' });
}

async function status(host: Host, name: string): Promise<string> {
  return (await host.run(`podman ps -a --filter name=${name}$ --format '{{.Status}}'`)).stdout.trim();
}
