import * as assert from 'uvu/assert';
import { installedHost, succeeds } from './installed.ts';
import { labSuite } from './suite.ts';

labSuite(
  'what goes through a link',
  () => installedHost({ name: 'traffic' }),
  (test, at) => {
    test('100 MB both ways at once arrive as they were sent', async () => {
      const host = at();
      await host.run('head -c 100M /dev/urandom > /root/up; head -c 100M /dev/urandom > /root/down');
      await host.run(
        `systemd-run --unit exchange socat -t 60 TCP-LISTEN:5001,reuseaddr SYSTEM:'cat /root/down & cat > /root/up.arrived; wait'`,
      );
      await succeeds(host, 'create url :5000 tail url :5001');
      await host.run('nc -N 127.0.0.1 5000 < /root/up > /root/down.arrived', { timeout: 120 });
      await host.run('cmp /root/down /root/down.arrived && cmp /root/up /root/up.arrived');
    });

    test('a client that has said all gets the whole answer', async () => {
      const host = at();
      await host.run(
        `systemd-run --unit counter socat -t 60 TCP-LISTEN:5003,reuseaddr,fork SYSTEM:'cat > /dev/null; seq 200000'`,
      );
      await succeeds(host, 'create url :5002 tail url :5003');
      const direct = (await host.run('seq 200000 | md5sum')).stdout;
      assert.is((await host.run('printf q | nc -N 127.0.0.1 5002 | md5sum')).stdout, direct);
    });

    test('a target that starts listening within 5 s serves the client that came first', async () => {
      const host = at();
      await succeeds(host, 'create url :5004 tail url :5005');
      const client = host.spawn('nc 127.0.0.1 5004 < /dev/null');
      await host.run(
        'until systemctl is-active -q wormhole-5004.service; do sleep 0.1; done; sleep 0.3; systemd-run --unit late socat TCP-LISTEN:5005,reuseaddr EXEC:"echo at last"',
      );
      const { stdout } = await client.exited;
      assert.is(stdout, 'at last\n');
    });

    test('a target that never listens: the client is closed, with one line in the journal', async () => {
      const host = at();
      await succeeds(host, 'create url :5006 tail url :5007');
      const began = Date.now();
      assert.is((await host.run('nc 127.0.0.1 5006 < /dev/null', { check: false })).stdout, '');
      const took = Date.now() - began;
      assert.ok(took > 4_000, `closed after ${took} ms already`);
      const lines = (await host.journal('-o', 'cat', '-u', 'wormhole-5006.service')).split('\n');
      const complaints = lines.filter((line) => /ECONNREFUSED|refused/.test(line));
      assert.is(complaints.length, 1, lines.join('\n'));
      for (const part of ['5006', '127.0.0.1:5007', 'this host', 'next connection']) {
        assert.ok(complaints[0]?.includes(part), `"${part}" in: ${complaints[0]}`);
      }
    });

    test('a forwarder that is killed is there again for the next client', async () => {
      const host = at();
      await host.run('systemctl kill -s KILL wormhole-5002.service');
      assert.is((await host.run('printf q | nc -N 127.0.0.1 5002 | tail -n 1')).stdout, '200000\n');
    });

    test('one that is killed again and again does not take the socket along', async () => {
      const host = at();
      for (let i = 0; i < 8; i++) {
        await host.run(
          'printf q | timeout 20 nc -N 127.0.0.1 5002 | tail -n 1; systemctl kill -s KILL wormhole-5002.service',
        );
      }
      assert.is((await host.run('systemctl is-active wormhole-5002.socket')).stdout, 'active\n');
      assert.is((await host.run('printf q | nc -N 127.0.0.1 5002 | tail -n 1')).stdout, '200000\n');
    });

    test('an idle forwarder ends, and a client after that is served', async () => {
      const host = at();
      await host.run(
        `mkdir -p /etc/systemd/system/wormhole-5002.service.d && printf '[Service]\\nExecStart=\\n%s --idle 1\\n' "$(grep ^ExecStart= /etc/systemd/system/wormhole-5002.service)" > /etc/systemd/system/wormhole-5002.service.d/idle.conf && systemctl daemon-reload && systemctl stop wormhole-5002.service`,
      );
      assert.is((await host.run('printf q | nc -N 127.0.0.1 5002 | tail -n 1')).stdout, '200000\n');
      await host.waitFor(
        async () =>
          (await host.run('systemctl is-active wormhole-5002.service', { check: false })).stdout ===
          'inactive\n',
        { timeout: 10, what: 'the forwarder to end' },
      );
      assert.is((await host.run('printf q | nc -N 127.0.0.1 5002 | tail -n 1')).stdout, '200000\n');
    });

    test('status and journal read well', async () => {
      const host = at();
      const socket = (await host.run('systemctl status --no-pager wormhole-5002.socket')).stdout;
      assert.match(
        socket,
        /wormhole-5002.socket - Wormhole 5002: 127.0.0.1:5002 on this host, to 127.0.0.1:5003 on this host/,
      );
      assert.match(socket, /Docs: man:wormhole\(1\)/);
      assert.match(socket, /Listen: 127.0.0.1:5002 \(Stream\)/);
      const service = (await host.run('systemctl status --no-pager wormhole-5002.service', { check: false }))
        .stdout;
      assert.match(
        service,
        /wormhole-5002.service - Wormhole 5002: forwarder to 127.0.0.1:5003 on this host/,
      );
      assert.match(service, /Status: "\d+ open, \d+ served, [\d.]+ [kMG]?B"/);
      assert.not.match(
        await host.journal('-b', '-u', 'wormhole-*'),
        /\bat .*\.js:\d+|node:internal|Warning:/,
      );
    });
  },
);
