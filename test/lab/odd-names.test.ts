import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import { labSuite } from './suite.ts';

/** Names that `ip netns add` takes, and that mean something to systemd, to a shell or to us. */
const NAMES = [
  'blue\\',
  'blue\\\\',
  'per cent%i',
  '$HOME',
  `both"quotes'`,
  '; semicolon',
  '#[Service]',
  'gr\u00fcn',
  ' blank ',
];

/** A name as a word of bash. */
const word = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

labSuite(
  'names that mean something to systemd',
  () => installedHost({ name: 'odd', docker: false }),
  (test, at) => {
    for (const [n, name] of NAMES.entries()) {
      test(`a network namespace named ${JSON.stringify(name)}`, async () => {
        const host = at();
        await host.run(`ip netns add ${word(name)} && ip -n ${word(name)} link set lo up`);
        const server = host.spawn(
          `ip netns exec ${word(name)} socat -t 60 TCP-LISTEN:1,fork,reuseaddr EXEC:'echo inside'`,
        );
        await host.waitFor(() => host.run(`ip netns exec ${word(name)} ss -Hltn | grep :1`), {
          what: 'the server',
        });
        await succeeds(host, `create id in${n} url :${7000 + n} tail url ${word(`${name}@:1`)}`);
        await succeeds(host, `create id out${n} url ${word(`${name}@:7001`)} tail url :${7000 + n}`);
        assert.is((await host.run(`nc -N -w 60 127.0.0.1 ${7000 + n} </dev/null`)).stdout, 'inside\n');
        const around = `ip netns exec ${word(name)} nc -N -w 60 127.0.0.1 7001 </dev/null`;
        assert.is((await host.run(around)).stdout, 'inside\n');

        const links = JSON.parse(await succeeds(host, 'list --json')) as {
          id: string;
          tail: { place: string };
        }[];
        assert.is(links.find(({ id }) => id === `in${n}`)?.tail.place, `netns ${name}`);
        const verified = await host.run(
          `systemd-analyze verify /etc/systemd/system/wormhole-{in,out}${n}.* 2>&1`,
          {
            check: false,
          },
        );
        assert.is(verified.stdout.replace(/^.*wormhole-netns@\.service.*instance.*\n/gm, ''), '');
        // The setting that comes after the description is there.
        for (const unit of [`in${n}.socket`, `in${n}.service`, `out${n}.socket`, `out${n}.service`])
          assert.is(
            (await host.run(`systemctl show -P Documentation wormhole-${unit}`)).stdout,
            '"man:wormhole(1)"\n',
          );
        for (const id of ['in', 'out']) await succeeds(host, `delete ${id}${n}`);
        await server.stop();
        await host.run(`ip netns del ${word(name)}`);
        await leavesNothing(host);
      });
    }

    test('a line break cannot get into a unit: neither in a name nor in the path of a key', async () => {
      const host = at();
      const evil = "$'blue\\nExecStartPre=/bin/touch /root/evil'";
      await fails(host, `create url :7000 tail url ${evil}@:1`, /control characters, line breaks/, 2);
      for (const path of ["$'/root/k\\n[Service]\\nExecStartPre=/bin/touch /root/evil'", "'/root/k\\'"]) {
        await fails(
          host,
          `-K ${path} create --dry-run id k url :7000 trigger remote nobody tail`,
          /^wormhole: "\/root\/k.*" cannot stand in a unit file/,
        );
        await fails(
          host,
          `-K ${path} create id k url :7000 trigger remote nobody tail`,
          /cannot stand in a unit file/,
        );
      }
      await leavesNothing(host);
      assert.is((await host.run('ls /root/evil', { check: false })).stdout, '');
    });
  },
);
