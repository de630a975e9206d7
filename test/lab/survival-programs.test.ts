import * as assert from 'uvu/assert';
import { installedHost, succeeds } from './installed.ts';
import { hasNotedSessions } from './noted-sessions.ts';
import type { Host } from './rig/host.ts';
import type { Running } from './rig/shell.ts';
import { labSuite } from './suite.ts';

/* Programs that people use keep their connections however the forwarders between them end: MariaDB, a WebSocket, OpenSSH, DTLS. */

/** Clients that transfer money between accounts at the same time. */
const POOL = 8;
const ACCOUNTS = 40;

/** Links to a database in a container, to a WebSocket server, to sshd, and to a server of DTLS. */
const LINKS = ['3306', '4100', '2222', '4433'];

const units = LINKS.map((id) => `wormhole-${id}.service`);

/** A client of the database. One that reconnected would have lost its transaction, so it fails. */
const MYSQL = 'mysql --skip-reconnect --batch --skip-column-names --unbuffered -u root -h 127.0.0.1 bank';

const SSH = 'ssh -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR -p 2222 root@127.0.0.1';

/**
 * One client of the pool: transfers between accounts until the file exists, each in a transaction that is open for a while. Its results are
 * large, and all of them must arrive. Prints what the results have to be, and what they are.
 */
const transfers = (client: number): string => `
  for n in $(seq 1000); do
    [ ! -e /tmp/done ] || break
    from=$((1 + (${client} * 7 + n * 3) % ${ACCOUNTS - 1})) to=$((from + 1))
    echo "START TRANSACTION; UPDATE accounts SET balance = balance - 1 WHERE id = $from;"
    sleep 0.1
    echo "SELECT $n, REPEAT(CHAR(97 + $n % 26), 50000); UPDATE accounts SET balance = balance + 1 WHERE id = $to;"
    echo "INSERT INTO transfers VALUES (${client}, $n, CONNECTION_ID()); COMMIT;"
  done | ${MYSQL} > /tmp/results.${client} || exit 1
  awk -F '\\t' '{ wanted = sprintf("%c", 97 + NR % 26); gsub(wanted, "", $2); if ($1 != NR || $2 != "") exit 1 } END { print NR }' /tmp/results.${client}
  wc -c < /tmp/results.${client}`;

/** Ends of a forwarder, and how the journal tells of them. */
const ENDS: readonly (readonly [string, string, RegExp | undefined])[] = [
  ['kill -9', `systemctl kill -s KILL ${units.join(' ')}`, /status=9\/KILL/],
  [
    'systemctl restart',
    `systemctl restart ${units.join(' ')}`,
    /stopped by SIGTERM; (1 open session continues|\d+ open sessions continue) if it is started again/,
  ],
  [
    'the watchdog',
    `systemctl kill -s STOP --kill-who=main ${units.join(' ')}`,
    /Watchdog timeout|result 'watchdog'/,
  ],
  ['running out of memory', 'out_of_memory', undefined],
  [
    'kill -9 after systemctl daemon-reexec',
    `systemctl daemon-reexec; systemctl kill -s KILL ${units.join(' ')}`,
    /status=9\/KILL/,
  ],
  ['an upgrade', '/src/wormhole/install.sh >/dev/null', undefined],
  [
    'five kills in a row',
    `for i in 1 2 3 4; do systemctl kill -s KILL ${units.join(' ')}; sleep 0.4; done; systemctl kill -s KILL ${units.join(' ')}`,
    /status=9\/KILL/,
  ],
];

/**
 * Has the kernel kill the forwarders because they have no memory left: by MemoryMax= where systemd has the memory controller, else in a
 * group of the controller of cgroup v1.
 */
const OUT_OF_MEMORY = `
  out_of_memory() {
    if grep -qw memory /sys/fs/cgroup/cgroup.controllers; then
      for unit in ${units.join(' ')}; do systemctl set-property --runtime $unit MemoryMax=1M; done
      sleep 1
      for unit in ${units.join(' ')}; do systemctl set-property --runtime $unit MemoryMax=infinity; done
      return
    fi
    group=/tmp/memory/wormhole-lab-$(cat /proc/sys/kernel/random/uuid)
    mkdir -p /tmp/memory && mount -t cgroup -o memory memory /tmp/memory && mkdir $group || return
    echo 64K > $group/memory.limit_in_bytes
    for unit in ${units.join(' ')}; do systemctl show -P MainPID $unit > $group/cgroup.procs; done
    for i in $(seq 200); do
      grep -q . $group/cgroup.procs || break
      # One that has nothing to do needs no memory, until it is to start its inspector.
      [ $((i % 40)) != 20 ] || kill -USR1 $(cat $group/cgroup.procs) 2>/dev/null
      sleep 0.05
    done
    grep "oom_kill " $group/memory.oom_control
    for pid in $(cat $group/cgroup.procs); do echo $pid > /tmp/memory/cgroup.procs; done
    rmdir $group
    umount /tmp/memory
  }`;

async function mainPids(host: Host): Promise<string[]> {
  const { stdout } = await host.run(`systemctl show -P MainPID ${units.join(' ')}`);
  return stdout.split('\n').filter(Boolean);
}

/** Waits until systemd keeps the session of a link that has one: those of UDP are not shown. */
async function hasStored(host: Host, id: string, talk = () => {}): Promise<void> {
  const stored = async () => {
    talk();
    return (await host.run(`systemctl show -P NFileDescriptorStore wormhole-${id}.service`)).stdout !== '0\n';
  };
  await host.waitFor(stored, { what: `the session of link ${id} to be stored` });
}

/** Has the interactive shell print a text, and waits until it has. */
async function says(host: Host, shell: Running, text: string): Promise<void> {
  shell.write(`echo "<$((6 * 7)) ${text}>"\n`);
  await host.waitFor(() => shell.stdout().includes(`<42 ${text}>`), {
    what: `the shell to answer "${text}"`,
  });
}

labSuite(
  'sessions of real programs outlive the forwarder',
  async () => {
    const host = await installedHost({
      name: 'programs',
      packages: ['openssh-server', 'openssh-client', 'openssl'],
    });
    await host.run(
      `docker run -d --name db --network none wormhole/mysql
       wormhole create url :3306 tail docker-ns db
       wormhole create url :4100 tail url :4101
       wormhole create url :2222 tail url :22
       wormhole create url udp://:4433 tail url :4434
       openssl req -x509 -newkey rsa:2048 -nodes -keyout /tmp/key.pem -out /tmp/cert.pem -subj /CN=dtls -days 2 2>/dev/null
       for id in ${LINKS.join(' ')}; do
         mkdir -p /etc/systemd/system/wormhole-$id.service.d
         printf '[Service]\\nWatchdogSec=2s\\n' > /etc/systemd/system/wormhole-$id.service.d/watchdog.conf
       done
       systemctl daemon-reload
       mkdir -p -m 700 /root/.ssh
       ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
       cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
       until mysql -u root -h 127.0.0.1 -e 'create database bank' 2>/dev/null; do sleep 0.2; done
       ${MYSQL} <<'SQL'
       create table accounts (id int primary key, balance int not null) engine=innodb;
       insert into accounts select seq, 100 from seq_1_to_${ACCOUNTS};
       create table transfers (client int, n int, connection bigint, primary key (client, n)) engine=innodb;
       create table notes (text varchar(99)) engine=innodb;
SQL`,
      { timeout: 120 },
    );
    return host;
  },
  (test, at) => {
    test('a pool in transactions, a WebSocket, SSH and DTLS go on after every kind of end', async () => {
      const host = at();
      const pool = Array.from({ length: POOL }, (_, client) => host.spawn(transfers(client)));
      // Its transaction begins before the first end, and is committed after the last.
      const long = host.spawn(MYSQL);
      long.write(`SELECT CONNECTION_ID(); START TRANSACTION; INSERT INTO notes VALUES ('long');\n`);
      const webSocket = host.spawn('exec node /src/wormhole/test/lab/websocket-session.mjs 4101 4100 30');
      const shell = host.spawn(`exec ${SSH} -tt "PS1= exec bash --norc --noprofile -i"`);
      // What it gets back from the other end is what it has sent.
      const copy = host.spawn(
        `while [ ! -e /tmp/done ]; do head -c 300000 /dev/urandom; sleep 0.2; done |
           tee /tmp/sent | ${SSH} 'tee /tmp/there' > /tmp/back || exit 1
         sha256sum < /tmp/sent; sha256sum < /tmp/there; sha256sum < /tmp/back; wc -c < /tmp/sent`,
      );
      // A server of DTLS that sees another address takes what comes from there for the beginning of another session.
      const dtlsServer = host.spawn(
        'exec openssl s_server -dtls -mtu 1400 -accept 127.0.0.1:4434 -cert /tmp/cert.pem -key /tmp/key.pem',
      );
      await host.waitFor(() => dtlsServer.stdout().includes('ACCEPT'), { what: 'the DTLS server' });
      const dtlsClient = host.spawn('exec openssl s_client -dtls -mtu 1400 -connect 127.0.0.1:4433');
      await host.waitFor(() => dtlsServer.stdout().includes('BEGIN SSL SESSION PARAMETERS'), {
        what: 'the handshake of DTLS',
      });
      await says(host, shell, 'before');
      await host.waitFor(() => webSocket.stdout().includes('running') && long.stdout().includes('\n'), {
        what: 'all sessions to run',
      });
      for (const [id, count] of [
        ['3306', POOL + 1],
        ['4100', 1],
        ['2222', 2],
      ] as const)
        await hasNotedSessions(host, id, count);
      // A session of UDP is stored once something passes when it is half a second old.
      await hasStored(host, '4433', () => dtlsClient.write('still here\n'));
      for (const [end, command, trace] of ENDS) {
        const since = (await host.run("date '+%F %T'")).stdout.trim();
        const before = await mainPids(host);
        const { stdout } = await host.run(`${OUT_OF_MEMORY}\n${command}`, { timeout: 120 });
        await host.waitFor(async () => (await mainPids(host)).every((pid, i) => pid !== before[i]), {
          what: `the end by ${end} of all forwarders`,
        });
        await says(host, shell, `after ${end}`);
        for (const [from, to] of [
          [dtlsClient, dtlsServer],
          [dtlsServer, dtlsClient],
        ] as const) {
          from.write(`over DTLS after ${end}\n`);
          await host.waitFor(() => to.stdout().includes(`over DTLS after ${end}\n`), {
            what: 'DTLS to go on',
          });
        }
        const journal = await host.journal(
          '-o',
          'cat',
          `--since=${since}`,
          ...units.map((unit) => `-u${unit}`),
        );
        if (trace !== undefined) assert.match(journal, trace, end);
        if (stdout.includes('oom_kill ')) assert.match(stdout, /oom_kill 4/, end);
        assert.match(journal, /took over \d+ open session/, end);
        assert.not.match(journal, /(it is|they are) reset|cannot/, end);
      }

      long.write('COMMIT; SELECT CONNECTION_ID();\n');
      long.end();
      await host.run('touch /tmp/done');
      const [first, last, ...more] = (await long.exited).stdout.trim().split('\n');
      assert.equal([last, more, long.stderr()], [first, [], '']);

      let count = 0;
      for (const client of pool) {
        const { stdout, stderr, status } = await client.exited;
        assert.equal([stderr, status], ['', 0]);
        const [results, bytes] = stdout.trim().split('\n').map(Number) as [number, number];
        assert.ok(results > 20, `${results} transactions`);
        const digits = Array.from({ length: results }, (_, n) => String(n + 1).length).reduce(
          (a, b) => a + b,
          0,
        );
        assert.is(bytes, digits + results * (50_000 + 2), 'bytes of the results');
        count += results;
      }
      const sum = `select sum(balance), min(balance) <> max(balance) from accounts;
        select count(*), count(distinct client), count(distinct connection) from transfers; select * from notes`;
      const { stdout: totals } = await host.run(`${MYSQL} -e '${sum}'`);
      assert.is(totals, `${100 * ACCOUNTS}\t1\n${count}\t${POOL}\t${POOL}\nlong\n`);

      await dtlsClient.stop();
      await dtlsServer.stop();
      shell.write('exit 7\n');
      assert.is((await shell.exited).status, 7);
      const copied = await copy.exited;
      assert.equal([copied.stderr, copied.status], ['', 0]);
      const [sent, there, back, size] = copied.stdout.trim().split('\n');
      assert.equal([there, back], [sent, sent]);
      assert.ok(Number(size) > 1e6, `${size} bytes`);

      const { stdout, stderr } = await webSocket.exited;
      assert.is(stderr, '');
      const result = JSON.parse(stdout.trim().split('\n').at(-1) as string);
      assert.is(result.code, 1000);
      assert.is(result.isCompressed, 'permessage-deflate');
      // Each side has got as many frames as the other says that it has sent.
      for (const { received } of [result.atClient, result.atServer]) assert.ok(received > 30, stdout);
    });

    test('a client of a unix socket, one whose target is a unix socket, and one that sends messages, go on', async () => {
      const host = at();
      await host.run(
        `mkdir /run/sockets
         systemd-run -q --unit echo socat -t 60 UNIX-LISTEN:/run/sockets/echo.sock,mode=666,fork EXEC:cat
         systemd-run -q --unit echo-messages socat -t 60 UNIX-LISTEN:/run/sockets/messages.sock,type=5,mode=666,fork EXEC:cat`,
      );
      await succeeds(host, 'create id tounix url :5400 tail url unix:///run/sockets/echo.sock');
      await succeeds(host, 'create id fromunix url unix:///run/sockets/from.sock tail url :5400');
      await succeeds(
        host,
        'create id messages url unixpacket:///run/sockets/to-messages.sock tail url unixpacket:///run/sockets/messages.sock',
      );
      const links = ['tounix', 'fromunix', 'messages'];
      const units = links.map((id) => `wormhole-${id}.service`).join(' ');
      const sessions = ['from.sock', 'to-messages.sock,type=5'].map((socket) =>
        host.spawn(`exec socat - UNIX-CONNECT:/run/sockets/${socket}`),
      );
      const say = async (line: string): Promise<void> => {
        for (const session of sessions) session.write(`${line}\n`);
        await host.waitFor(() => sessions.every((session) => session.stdout().endsWith(`${line}\n`)), {
          what: `the answers to "${line}"`,
        });
      };
      await say('before');
      for (const id of links) await hasNotedSessions(host, id, 1);
      for (const [end, command] of [
        ['kill -9', `systemctl kill -s KILL ${units}`],
        ['systemctl restart', `systemctl restart ${units}`],
      ] as const) {
        await host.run(command);
        await say(`after ${end}`);
      }
      for (const session of sessions) session.end();
      for (const session of sessions) assert.is((await session.exited).status, 0);
      for (const id of links)
        assert.is(
          (await host.journal('-o', 'cat', '-u', `wormhole-${id}.service`)).match(/took over 1 open session/g)
            ?.length,
          2,
        );
    });

    test('a client of UDP goes on with its port, and reaches the container that takes the place of another', async () => {
      const host = at();
      await host.run(
        `docker run -d --network none --name box wormhole/tools socat -T 60 UDP4-RECVFROM:53,fork EXEC:/bin/hostname
         wormhole create id box url udp://:5300 tail docker-ns box url :53`,
      );
      // One socket for all its questions.
      const client = host.spawn(
        `exec node -e "
          const socket = require('dgram').createSocket('udp4');
          socket.connect(5300, '127.0.0.1', () => setInterval(() => socket.send('?'), 100));
          socket.on('message', (message) => console.log(String(message).trim()));
          socket.on('error', () => {})"`,
      );
      const answers = (): string[] => client.stdout().trim().split('\n');
      const first = (await host.run("docker inspect -f '{{.Config.Hostname}}' box")).stdout.trim();
      await host.waitFor(() => answers().length > 20, { what: 'answers' });
      await hasStored(host, 'box');
      await host.run('systemctl kill -s KILL wormhole-box.service');
      const before = answers().length;
      await host.waitFor(() => answers().length > before + 10, { what: 'answers after the kill' });
      assert.equal([...new Set(answers())], [first]);
      assert.match(await host.journal('-o', 'cat', '-u', 'wormhole-box.service'), /took over 1 open session/);
      await host.run('docker restart -t 0 box');
      const between = answers().length;
      await host.waitFor(() => answers().length > between + 10, {
        what: 'answers of the restarted container',
      });
      await host.run(
        `docker rm -f box
         docker run -d --network none --name box wormhole/tools socat -T 60 UDP4-RECVFROM:53,fork EXEC:/bin/hostname`,
      );
      const second = (await host.run("docker inspect -f '{{.Config.Hostname}}' box")).stdout.trim();
      await host.waitFor(() => answers().at(-1) === second, { what: 'answers of the new container' });
      await client.stop();
    });
  },
);
