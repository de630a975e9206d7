import * as assert from 'uvu/assert';
import { askDatagram } from './ask-datagram.ts';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/** What a client of a socket hears that sends `say` and ends. `address` is one of socat. */
async function asked(host: Host, address: string, say = 'hello'): Promise<string> {
  const { stdout } = await host.run(`echo ${say} | socat -t 60 - ${address}`, { check: false, timeout: 90 });
  return stdout;
}

/**
 * Starts a server by a name for systemd; `address` is one of socat, which by itself gives the program half a second to answer once the
 * client has said all.
 */
function server(host: Host, unit: string, address: string, program = 'cat') {
  return host.run(`systemd-run --unit ${unit} socat -t 60 ${address} EXEC:${program}`);
}

function journal(host: Host, id: string): Promise<string> {
  return host.journal('-b', '-o', 'cat', '-u', `wormhole-${id}.service`);
}

labSuite(
  'unix sockets',
  () => installedHost({ name: 'unix', packages: ['postgresql', 'redis-server'] }),
  (test, at) => {
    test('a path leads to a port, and a port to a path', async () => {
      const host = at();
      await server(host, 'tcp-echo', 'TCP-LISTEN:7001,bind=127.0.0.1,fork,reuseaddr');
      assert.is(
        await succeeds(host, 'create url unix:///run/deep/er/echo.sock tail url :7001'),
        'echo unix:///run/deep/er/echo.sock',
      );
      assert.is(await asked(host, 'UNIX-CONNECT:/run/deep/er/echo.sock'), 'hello\n');
      assert.is((await host.run('stat -c "%a %U" /run/deep/er/echo.sock')).stdout, '666 root\n');
      await succeeds(host, 'create url :7002 tail url unix:///run/deep/er/echo.sock');
      assert.is(await asked(host, 'TCP:127.0.0.1:7002'), 'hello\n');
      assert.match(
        await succeeds(host, 'list'),
        /^echo +unix:\/\/\/run\/deep\/er\/echo\.sock +tcp:\/\/127\.0\.0\.1:7001 +connected \d+ open, /m,
      );
      await succeeds(host, 'delete 7002 echo');
      await host.run('test ! -e /run/deep/er/echo.sock');
      await leavesNothing(host);
    });

    test('--mode and --owner; who may not connect, may not', async () => {
      const host = at();
      await host.run('useradd alice; useradd bob; groupadd friends; usermod -aG friends alice');
      await succeeds(
        host,
        'create --mode 660 --owner daemon:friends id strict url unix:///run/strict.sock tail url :7001',
      );
      assert.is((await host.run('stat -c "%a %U:%G" /run/strict.sock')).stdout, '660 daemon:friends\n');
      const as = (user: string) =>
        host.run(`echo x | setpriv --reuid ${user} --init-groups socat -t60 - UNIX:/run/strict.sock 2>&1`, {
          check: false,
        });
      assert.is((await as('alice')).stdout, 'x\n');
      assert.match((await as('bob')).stdout, /Permission denied/);
      await succeeds(host, 'delete strict');
      await fails(
        host,
        'create --owner nobodyatall url unix:///run/s.sock tail url :1',
        /--owner "nobodyatall": this host has no user called "nobodyatall"/,
      );
      await fails(host, 'create --mode 999 url unix:///run/s.sock tail url :1', /--mode "999": expected/, 2);
      await fails(
        host,
        'create --mode 600 url :7009 tail url :1',
        /--mode "600" is for a head with a path, .* and the recipe has none/,
      );
      await leavesNothing(host);
    });

    test('a stale socket is replaced; one in use and another file are refused', async () => {
      const host = at();
      await server(host, 'live', 'UNIX-LISTEN:/run/live.sock,fork');
      await host.waitFor(() => host.run('test -S /run/live.sock'), { what: 'the socket' });
      await fails(
        host,
        'create url unix:///run/live.sock tail url :7001',
        /a program listens on \/run\/live\.sock already/,
      );
      assert.is(await asked(host, 'UNIX:/run/live.sock'), 'hello\n', 'it still serves');
      await host.run('systemctl kill -s KILL live; systemctl reset-failed live; test -S /run/live.sock');
      await succeeds(host, 'create url unix:///run/live.sock tail url :7001');
      assert.is(await asked(host, 'UNIX:/run/live.sock'), 'hello\n');
      await host.run('echo precious >/run/file');
      await fails(
        host,
        'create url unix:///run/file tail url :7001',
        /\/run\/file exists, and is not a socket: remove it, or take another path/,
      );
      assert.is((await host.run('cat /run/file')).stdout, 'precious\n');
      await fails(
        host,
        'create id two url unix:///run/live.sock tail url :7001',
        /link "live" listens on \/run\/live\.sock already/,
      );
      await succeeds(host, 'stop live');
      await host.run('test ! -e /run/live.sock');
      await succeeds(host, 'start live');
      assert.is(await asked(host, 'UNIX:/run/live.sock'), 'hello\n');
      await succeeds(host, 'delete live');
    });

    test('tails that the sandbox would hide, or that others may not use', async () => {
      const host = at();
      const places = ['/tmp/here.sock', '/var/tmp/d/here.sock', '/run/user/d/here.sock', '/home/d/here.sock'];
      await host.run('mkdir -p /var/tmp/d /run/user/d /home/d');
      for (const [n, path] of places.entries()) {
        await server(host, `place-${n}`, `UNIX-LISTEN:${path},fork,mode=666`);
        await host.waitFor(() => host.run(`test -S ${path}`), { what: 'the socket' });
        await succeeds(host, `create id place-${n} url :${7010 + n} tail url unix://${path}`);
        assert.is(await asked(host, `TCP:127.0.0.1:${7010 + n}`), 'hello\n', path);
        // The forwarder that runs finds the one that is created again.
        await host.run(`systemctl stop place-${n}; rm -f ${path}`);
        await server(host, `place-${n}-again`, `UNIX-LISTEN:${path},fork,mode=666`);
        assert.is(await asked(host, `TCP:127.0.0.1:${7010 + n}`), 'hello\n', `${path} again`);
        await succeeds(host, `delete place-${n}`);
        await host.run(`systemctl stop place-${n}-again`);
      }
      for (const [url, reason] of [
        ['unix:///x.sock', 'the forwarder would see all of / beside /x.sock'],
        ['unix:///run/wormhole/x/y.sock', 'the forwarder would see all of /run/wormhole/x beside'],
        ['unix:///srv/a:/run/x.sock', 'systemd cannot show the forwarder a directory with ":"'],
      ] as const)
        await fails(host, `create url :7019 tail url ${url}`, new RegExp(reason.replaceAll('/', '\\/')));
      await server(host, 'private', 'UNIX-LISTEN:/run/private.sock,fork,mode=660,group=friends');
      await host.waitFor(() => host.run('test -S /run/private.sock'), { what: 'the socket' });
      await fails(
        host,
        'create url :7020 tail url unix:///run/private.sock',
        /may not connect to \/run\/private\.sock \(mode 0660, group friends\): create the link with --group friends/,
      );
      await succeeds(host, 'create --group friends url :7020 tail url unix:///run/private.sock');
      assert.is(await asked(host, 'TCP:127.0.0.1:7020'), 'hello\n');
      await succeeds(host, 'delete 7020');
      await leavesNothing(host);
    });

    test('abstract names, also in other namespaces', async () => {
      const host = at();
      await host.run(
        'ip netns add blue; ip netns add red; ip -n red link set lo up; ip -n blue link set lo up',
      );
      await host.run(
        'systemd-run --unit red-echo ip netns exec red socat -t 60 ABSTRACT-LISTEN:echo,fork EXEC:cat',
      );
      assert.is(
        await succeeds(host, 'create id abstract url unix://blue@@hello tail url unix://red@@echo'),
        'abstract unix://blue@@hello',
      );
      const ask = (netns: string) =>
        host.run(`echo x | ip netns exec ${netns} socat -t60 - ABSTRACT-CONNECT:hello 2>&1`, {
          check: false,
        });
      assert.is((await ask('blue')).stdout, 'x\n');
      assert.match((await ask('red')).stdout, /Connection refused/);
      assert.match(await asked(host, 'ABSTRACT-CONNECT:hello'), /^$/);
      await fails(
        host,
        'create url unix://blue@@hello tail url :1',
        /link "abstract" listens on @hello in netns blue already/,
      );
      await succeeds(host, 'delete abstract');
    });

    test('datagrams and messages', async () => {
      const host = at();
      await server(host, 'gram', 'UNIX-RECVFROM:/run/gram.sock,fork,mode=666');
      await server(host, 'packet', 'UNIX-LISTEN:/run/packet.sock,type=5,fork,mode=666');
      await host.waitFor(() => host.run('test -S /run/gram.sock && test -S /run/packet.sock'), {
        what: 'the sockets',
      });
      await succeeds(host, 'create id gram url unixgram:///run/g.sock tail url unixgram:///run/gram.sock');
      await host.run('echo one-way | socat -u - UNIX-SENDTO:/run/g.sock');
      await host.run('until systemctl is-active -q wormhole-gram.service; do sleep 0.1; done');
      const asking = host.spawn('umask 0; exec socat -t 600 - UNIX-SENDTO:/run/g.sock,bind=/tmp/client');
      asking.write('answer me\n');
      await host.waitFor(() => asking.stdout() === 'answer me\n', { what: 'the answer' });
      await asking.stop();
      await succeeds(
        host,
        'create id packet url unixpacket:///run/p.sock tail url unixpacket:///run/packet.sock',
      );
      assert.is(await asked(host, 'UNIX-CONNECT:/run/p.sock,type=5'), 'hello\n');
      await succeeds(host, 'create id syslog url udp://:7514 tail url unixgram:///run/gram.sock');
      assert.is(await askDatagram(host, 7514), 'hello\n');
      await fails(
        host,
        'create url unixgram:///run/h.sock tail url udp://:514',
        /the head is unixgram and the tail udp; say tail url unixgram:/,
        2,
      );
      await succeeds(host, 'delete gram packet syslog');
      await leavesNothing(host);
    });

    test('PostgreSQL: from a path to a port, and from a port to its own path', async () => {
      const host = at();
      await host.run('systemctl start postgresql@15-main', { timeout: 120 });
      await host.run(
        `runuser -u postgres -- psql -c "create role visitor login password 'secret'" -c 'create database visitor owner visitor'`,
      );
      await succeeds(host, 'create id pg-path url unix:///run/pg/.s.PGSQL.5433 tail url :5432');
      await succeeds(host, 'create id pg-port url :5434 tail url unix:///run/postgresql/.s.PGSQL.5432');
      const query = (where: string) =>
        host.run(
          `PGPASSWORD=secret psql -U visitor ${where} -Atc 'select sum(n) from generate_series(1, 200000) n'`,
        );
      assert.is((await query('-h /run/pg -p 5433')).stdout, '20000100000\n');
      // Over its path the server asks who the client is: the forwarder.
      await host.run(
        `sed -i 's/^local .*all .*all .*/local all all scram-sha-256/' /etc/postgresql/15/main/pg_hba.conf`,
      );
      await host.run('systemctl reload postgresql@15-main');
      // The server may not have read the file yet.
      const { stdout } = await host.waitFor(() => query('-h 127.0.0.1 -p 5434'), { what: 'the query' });
      assert.is(stdout, '20000100000\n');
      await succeeds(host, 'delete pg-path pg-port');
      await host.run('systemctl stop postgresql@15-main');
    });

    test('redis at a path', async () => {
      const host = at();
      await host.run('systemd-run --unit redis-6380 redis-server --port 6380 --save ""');
      await succeeds(host, 'create url unix:///run/redis-link.sock tail url :6380');
      const { stdout } = await host.run(
        'redis-cli -s /run/redis-link.sock set k v && redis-benchmark -s /run/redis-link.sock -n 20000 -t get,set -q',
        { timeout: 120 },
      );
      assert.match(stdout, /^OK\n[\s\S]*GET: .*requests per second/);
      await succeeds(host, 'delete redis-link');
      await host.run('systemctl stop redis-6380');
    });

    test('a database in a container without a network, at a path of the host and of another container', async () => {
      const host = at();
      await host.run('docker run -d --network none --name db wormhole/mysql');
      assert.is(
        await succeeds(host, 'create url unix:///run/share/mysql.sock tail url tcp://:3306 docker-ns db'),
        'mysql unix:///run/share/mysql.sock',
      );
      const query = `mysql -u root -N -e "select 6 * 7"`;
      await host.waitFor(() => host.run(`${query} -S /run/share/mysql.sock`, { timeout: 60 }), {
        timeout: 60,
        what: 'the database',
      });
      const { stdout } = await host.run(
        `docker run --rm --network none -v /run/share:/run/share wormhole/mysql ${query} -S /run/share/mysql.sock`,
      );
      assert.is(stdout, '42\n');
      await fails(
        host,
        'create url unix:///run/x.sock docker-ns db tail url :1',
        /a path is one of this host's file system, not of that of container db; share its directory/,
        2,
      );
      await host.run('docker rm -f db');
      await succeeds(host, 'delete mysql');
    });

    test('a sleeping container behind a path: the first client waits, and it stops again', async () => {
      const host = at();
      await succeeds(
        host,
        'create url unix:///run/asleep.sock idle 2s trigger url :3306 docker-run "--network none wormhole/mysql"',
      );
      assert.is((await host.run('docker ps -q')).stdout, '');
      const { stdout } = await host.run(`mysql -u root -N -S /run/asleep.sock -e 'select 6 * 7'`, {
        timeout: 90,
      });
      assert.is(stdout, '42\n');
      await host.waitFor(async () => (await host.run('docker ps -q')).stdout === '', {
        timeout: 60,
        what: 'the container to stop',
      });
      await succeeds(host, 'delete asleep');
    });

    test('a reboot: paths listen again', async () => {
      const host = at();
      await succeeds(host, 'create id boot url unix:///run/boot/x.sock tail url :7001');
      await host.reboot();
      await server(host, 'tcp-echo', 'TCP-LISTEN:7001,bind=127.0.0.1,fork,reuseaddr');
      assert.is(await asked(host, 'UNIX-CONNECT:/run/boot/x.sock'), 'hello\n');
      await host.run('systemctl kill -s KILL wormhole-boot.service');
      await host.waitFor(async () => (await asked(host, 'UNIX-CONNECT:/run/boot/x.sock')) === 'hello\n', {
        what: 'the forwarder to be there again',
      });
      assert.not.match(await journal(host, 'boot'), /not permitted|cannot/i);
      await succeeds(host, 'delete --all');
      await leavesNothing(host);
    });
  },
);
