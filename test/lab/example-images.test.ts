import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import { images } from './rig/image.ts';
import { labSuite } from './suite.ts';

/*
 * The Dockerfiles of examples/. There is no registry here and no mirror of Debian, so what they build on is the lab's own image with
 * the same packages, without everything that the Dockerfile adds; its apt-get does nothing.
 */

/** What the lab's image has beyond its packages. */
const UNDO: Record<string, string> = {
  mysql: 'userdel mysql; rm -rf /var/lib/mysql /etc/mysql/mariadb.conf.d/lab.cnf /etc/mysql/init.sql',
  wordpress: 'rm /etc/wordpress/config-default.php /etc/apache2/sites-available/000-default.conf',
};

const dockerfile = (name: string) =>
  readFileSync(new URL(`../../examples/${name}/Dockerfile`, import.meta.url), 'utf8');

labSuite(
  'the images of examples/',
  () => installedHost({ name: 'kitchen' }),
  (test, at) => {
    for (const [name, undo] of Object.entries(UNDO)) {
      test(`wormhole/${name} is built from Debian's packages`, async () => {
        const host = at();
        const packages = /apt-get install -y --no-install-recommends ([\s\\a-z0-9-]+?) \\?\s*&&/.exec(
          dockerfile(name),
        )?.[1];
        assert.equal(
          packages?.split(/[\s\\]+/).filter(Boolean),
          images.find((image) => image.name === `wormhole/${name}`)?.tree.packages,
        );
        const base = `FROM wormhole/${name}\\nRUN ${undo}; ln -s /bin/true /usr/local/bin/apt-get\\n`;
        await host.run(`printf '${base}' | docker build -q -t debian:bookworm-slim -`, { timeout: 120 });
        await host.run(`docker build -t wormhole/${name} /src/wormhole/examples/${name}`, { timeout: 300 });
        await host.run('docker rmi debian:bookworm-slim');
      });
    }

    test('together they are WordPress with its database, started by the first request', async () => {
      const host = at();
      await succeeds(
        host,
        'create url :80 idle 5s trigger docker-run wormhole/wordpress child url :3306 trigger docker-run wormhole/mysql',
      );
      const page = async () =>
        (
          await host.run('curl -sS -m 100 -o /dev/null -w "%{http_code} %{redirect_url}" http://127.0.0.1/', {
            timeout: 120,
          })
        ).stdout;
      assert.is(await page(), '302 http://127.0.0.1/wp-admin/install.php');
      const asleep = async () => (await host.run('docker ps -q')).stdout === '';
      await host.waitFor(asleep, { timeout: 60, what: 'both to sleep' });
      assert.is(await page(), '302 http://127.0.0.1/wp-admin/install.php');
      // The database is only for those who reach its own 127.0.0.1.
      const address = (
        await host
          .container('wormhole-80-3306-netns')
          .inspect('{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}')
      ).trim();
      assert.is((await host.run(`nc -z -w 2 ${address} 3306`, { check: false })).status, 1);
      await succeeds(host, 'delete --volumes 80');
      await leavesNothing(host);
      assert.is((await host.run('docker volume ls -q')).stdout, '');
    });
  },
);
