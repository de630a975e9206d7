import * as assert from 'uvu/assert';
import { askDatagram } from './ask-datagram.ts';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

const NODE = 'node /src/wormhole/test/lab';

/** How often the direct path and a link are compared, until neither loses a datagram. */
const ATTEMPTS = 9;

/** What a client hears that sends `say` to a port of 127.0.0.1. */
const asked = (host: Host, port: number, say = 'hello') => askDatagram(host, port, { say });

/** Starts a UDP server that answers each datagram with itself. */
function echo(host: Host, unit: string, port: number, address = '127.0.0.1') {
  return host.run(`systemd-run --unit ${unit} ${NODE}/udp-server.mjs ${port} ${address}`);
}

labSuite(
  'datagrams on one host',
  () => installedHost({ name: 'udp', packages: ['iperf3', 'dnsmasq-base', 'bind9-dnsutils', 'openssl'] }),
  (test, at) => {
    test('a port of this host leads to another one', async () => {
      const host = at();
      await echo(host, 'echo', 5301);
      assert.is(await succeeds(host, 'create url udp://:5300 tail url :5301'), '5300 udp://127.0.0.1:5300');
      assert.is(await asked(host, 5300), 'hello\n');
      const { stdout } = await host.run('systemctl show -P Listen wormhole-5300.socket');
      assert.is(stdout, '127.0.0.1:5300 (Datagram)\n');
    });

    test('list, status and journal tell of clients as they do of connections', async () => {
      const host = at();
      assert.match(
        await succeeds(host, 'list'),
        /^5300 +udp:\/\/127\.0\.0\.1:5300 +udp:\/\/127\.0\.0\.1:5301 +connected 1 open, \d+ served/m,
      );
      const journal = await host.journal('-b', '-u', 'wormhole-5300.*');
      assert.match(journal, /Listening on /);
      assert.not.match(journal, /failed|warning|not permitted/i);
    });

    test('--udp-timeout: the session of a client that is silent for this long ends, and the forwarder after the idle time', async () => {
      const host = at();
      await succeeds(host, 'create --udp-timeout 1s idle 2s url udp://:5302 tail url :5301');
      assert.is(await asked(host, 5302), 'hello\n');
      await host.waitFor(
        async () =>
          (await host.run('systemctl is-active wormhole-5302.service', { check: false })).stdout ===
          'inactive\n',
        { timeout: 15, what: 'the forwarder to end' },
      );
      assert.is(await asked(host, 5302, 'again'), 'again\n', 'the next datagram starts it');
      const json = JSON.parse(await succeeds(host, 'list --json'));
      assert.ok(json.some(({ id }: { id: string }) => id === '5302'));
      await succeeds(host, 'delete 5302');
    });

    test('datagrams of 0, 1, 65,507 and other sizes arrive as they were sent', async () => {
      const host = at();
      await host.run(`${NODE}/udp-sizes.mjs 5300 0 1 2 511 512 1399 1400 1472 1473 9000 65506 65507 0`);
    });

    test('10,000 clients in turn and 1,000 at once get their own answers, and nothing is left of them', async () => {
      const host = at();
      await succeeds(host, 'create --udp-timeout 5s id many url udp://:5304 tail url :5301');
      await asked(host, 5304);
      const pid = (await host.run('systemctl show -P MainPID wormhole-many.service')).stdout.trim();
      const memory = async () =>
        Number(/RssAnon:\s+(\d+)/.exec((await host.run(`cat /proc/${pid}/status`)).stdout)?.[1]);
      const descriptors = async () => Number((await host.run(`ls /proc/${pid}/fd | wc -l`)).stdout);
      const clients = (count: number, atOnce: number) =>
        host.run(`${NODE}/udp-clients.mjs 5304 ${count} ${atOnce}`, { timeout: 300 });
      const before = { memory: await memory(), descriptors: await descriptors() };
      assert.is((await clients(1000, 1000)).stdout, '1000 right, 0 wrong\n');
      const after1000 = await memory();
      assert.is((await clients(10_000, 20)).stdout, '10000 right, 0 wrong\n');
      const after10000 = await memory();
      // It keeps what it has needed at most: that of the 1,000 sockets, and of as many as are open within 5 s.
      assert.ok(after10000 < before.memory + 40_000, `${before.memory} ${after1000} ${after10000} kB`);
      await host.waitFor(async () => (await descriptors()) <= before.descriptors, {
        timeout: 20,
        what: 'the sockets of all clients to be closed',
      });
      await succeeds(host, 'delete many');
    });

    test('iperf3 -u: what the direct path carries without loss, the link does too', async () => {
      const host = at();
      await host.run('systemd-run --unit iperf iperf3 -s -p 5305 -B 127.0.0.1');
      await succeeds(host, 'create id iperf-tcp url :5306 tail url :5305');
      await succeeds(host, 'create id iperf-udp url udp://:5306 tail url :5305');
      const measured = async (port: number, rate: string) => {
        const run = `iperf3 -J -u -c 127.0.0.1 -p ${port} -b ${rate} -l 1400 -t 3`;
        // Its server takes one client at a time, and may not have seen yet that the one before has ended.
        const { stdout } = await host.waitFor(() => host.run(run, { timeout: 60 }), { what: 'iperf3' });
        return JSON.parse(stdout).end.sum as { packets: number; lost_packets: number };
      };
      const compared = async (rate: string) => {
        const direct = await measured(5305, rate);
        const linked = await measured(5306, rate);
        const lost = [direct, linked].map(({ lost_packets, packets }) => `${lost_packets} of ${packets}`);
        process.stdout.write(`lost at ${rate}bit/s: ${lost[0]} directly, ${lost[1]} through the link\n`);
        assert.ok(linked.packets > 1000);
        return direct.lost_packets === 0 && linked.lost_packets === 0;
      };
      // A buffer takes 100 ms of this. At higher rates a program that gets the processor late loses datagrams, and the link has two
      // programs on the way: what is lost says how busy the machine is.
      let isWhole = false;
      for (let attempt = 0; attempt < ATTEMPTS && !isWhole; attempt++) isWhole = await compared('10M');
      assert.ok(isWhole, `in none of ${ATTEMPTS} attempts the direct path and the link both lost nothing`);
      for (const rate of ['100M', '300M']) await compared(rate);
      await host.run('systemctl stop iperf');
      await succeeds(host, 'delete iperf-tcp iperf-udp');
    });

    test('one link, two protocols: a DNS server of which some answers need TCP', async () => {
      const host = at();
      const text = `wormhole-${'x'.repeat(200)}`;
      const records = Array.from({ length: 12 }, (_, n) => `--txt-record=big.test,${n}-${text}`).join(' ');
      await host.run(
        `systemd-run --unit dns dnsmasq -k -C /dev/null --no-resolv --no-hosts -p 5399 --listen-address=127.0.0.1 --bind-interfaces --edns-packet-max=4096 --address=/name.test/192.0.2.7 ${records}`,
      );
      assert.is(
        await succeeds(host, 'create id dns url udp://:5353 url tcp:// tail url :5399'),
        'dns udp://127.0.0.1:5353 tcp://127.0.0.1:5353',
      );
      const dig = async (question: string) =>
        (await host.run(`dig @127.0.0.1 -p 5353 +tries=2 ${question}`, { timeout: 30 })).stdout;
      assert.is(await dig('+short name.test'), '192.0.2.7\n');
      assert.is(await dig('+short +tcp name.test'), '192.0.2.7\n');
      const big = await dig('big.test TXT +bufsize=512');
      assert.match(big, /ANSWER: 12,/);
      assert.match(
        big,
        /;; SERVER: 127\.0\.0\.1#5353\(127\.0\.0\.1\) \(TCP\)/,
        'the truncated answer led to TCP',
      );
      assert.match(await dig('big.test TXT +bufsize=4096 +ignore'), /ANSWER: 12,[\s\S]*\(UDP\)/);
      assert.match(
        await succeeds(host, 'list'),
        /^dns +udp:\/\/127\.0\.0\.1:5353, tcp:\/\/127\.0\.0\.1:5353 +udp:\/\/127\.0\.0\.1:5399, tcp:\/\/127\.0\.0\.1:5399 +connected/m,
      );
      // It restarts, and the same client asks again.
      await host.run('systemctl kill -s KILL wormhole-dns.service');
      assert.is(await dig('+short name.test'), '192.0.2.7\n');
      await fails(host, 'create url :5353 tail url :1', /link "dns" listens on 127\.0\.0\.1:5353 already/);
      await succeeds(host, 'delete dns');
      await host.run('systemctl stop dns');
    });

    test('DTLS: a handshake, and what is said behind it', async () => {
      const host = at();
      await host.run(
        'openssl req -x509 -newkey rsa:2048 -nodes -keyout /tmp/key.pem -out /tmp/cert.pem -subj /CN=dtls -days 2',
        { timeout: 60 },
      );
      // -quiet would read standard input, which is empty.
      await host.run(
        "systemd-run --unit dtls sh -c 'sleep 600 | openssl s_server -dtls -mtu 1400 -accept 127.0.0.1:5340 -cert /tmp/cert.pem -key /tmp/key.pem'",
      );
      await succeeds(host, 'create id dtls url udp://:5341 tail url :5340');
      const { stdout } = await host.run(
        "(sleep 2; echo said over DTLS; sleep 2) | timeout 60 openssl s_client -dtls -mtu 1400 -connect 127.0.0.1:5341 2>&1 | grep -E 'Protocol|Cipher' | sort -u",
        { timeout: 60 },
      );
      assert.match(stdout, /DTLSv1\.2/);
      await host.waitFor(async () => /said over DTLS/.test(await host.journal('-u', 'dtls', '-o', 'cat')), {
        what: 'the server to hear it',
      });
      await succeeds(host, 'delete dtls');
      await host.run('systemctl stop dtls');
    });

    test('20,000 forged clients: those who talk keep their sessions, and memory and descriptors are bounded', async () => {
      const host = at();
      await succeeds(host, 'create --udp-timeout 3s id flooded url udp://:5342 tail url :5301');
      assert.is(await asked(host, 5342), 'hello\n');
      const pid = (await host.run('systemctl show -P MainPID wormhole-flooded.service')).stdout.trim();
      let floods = true;
      const flood = host.run(`${NODE}/udp-flood.mjs 5342 20000`, { timeout: 200 }).finally(() => {
        floods = false;
      });
      // Like a client of DNS, it asks once more: what comes while the forwarder has no processor may find no room.
      const isAnswered = async (say: string) =>
        (await askDatagram(host, 5342, { say, seconds: 10 })) === `${say}\n` ||
        (await askDatagram(host, 5342, { say, seconds: 10 })) === `${say}\n`;
      let answers = 0;
      let most = 0;
      let asks = 0;
      while (asks < 20 || floods) {
        if (await isAnswered(`${asks}`)) answers++;
        asks++;
        most = Math.max(most, Number((await host.run(`ls /proc/${pid}/fd | wc -l`)).stdout));
      }
      assert.is((await flood).stdout, 'done\n');
      assert.ok(answers >= 0.9 * asks, `${answers} of ${asks} answers during the flood`);
      assert.ok(most < 4096 + 60, `${most} descriptors`);
      const kB = Number(/RssAnon:\s+(\d+)/.exec((await host.run(`cat /proc/${pid}/status`)).stdout)?.[1]);
      assert.ok(kB < 100_000, `${kB} kB`);
      await host.waitFor(async () => Number((await host.run(`ls /proc/${pid}/fd | wc -l`)).stdout) < 60, {
        what: 'the sessions to end',
      });
      assert.is(await asked(host, 5342), 'hello\n');
      assert.is((await host.run('systemctl show -P MainPID wormhole-flooded.service')).stdout.trim(), pid);
      await succeeds(host, 'delete flooded');
    });

    test('a target that restarts, and one that starts after its first client', async () => {
      const host = at();
      await succeeds(host, 'create id late url udp://:5343 tail url :5344');
      const client = asked(host, 5343, 'early');
      await host.waitFor(
        async () =>
          (await host.run('systemctl is-active wormhole-late.service', { check: false })).stdout ===
          'active\n',
        { what: 'the forwarder' },
      );
      // One that is there at once: the datagram is kept for 5 s.
      await host.run(
        'systemd-run -q --unit late socat -t 20 UDP4-RECVFROM:5344,bind=127.0.0.1,fork EXEC:cat',
      );
      assert.is(await client, 'early\n');
      await host.run('systemctl restart late');
      assert.is(await asked(host, 5343, 'again'), 'again\n');
      await succeeds(host, 'delete late');
      await host.run('systemctl stop late');
    });

    test('a container without a network: its port 514 leads to the log of this host', async () => {
      const host = at();
      await host.run('docker run -d --network none --name quiet wormhole/tools');
      assert.is(
        await succeeds(host, 'create id log url udp://:514 docker-ns quiet tail url unixgram:///dev/log'),
        'log udp://127.0.0.1:514',
      );
      assert.match(await succeeds(host, 'list'), /^log .* unixgram:\/\/\/run\/systemd\/journal\/dev-log /m);
      await host.run(
        `docker exec quiet sh -c "echo '<13>quiet: heard by the host' | socat - UDP:127.0.0.1:514"`,
      );
      await host.waitFor(async () => /heard by the host/.test(await host.journal('-b', '-t', 'quiet')), {
        what: 'the journal to have the line',
      });
      await host.run('docker restart -t 0 quiet', { timeout: 60 });
      await host.waitFor(
        async () => {
          await host.run(`docker exec quiet sh -c "echo '<13>quiet: and again' | socat - UDP:127.0.0.1:514"`);
          return /and again/.test(await host.journal('-b', '-t', 'quiet'));
        },
        { what: 'the link to follow the container' },
      );
      await succeeds(host, 'delete log');
      await host.run('docker rm -f quiet');
    });

    test('a sleeping container: the first datagram starts it, waits for it and is answered', async () => {
      const host = at();
      const command = 'socat -t 60 UDP-RECVFROM:53,fork EXEC:cat';
      await succeeds(
        host,
        `create id asleep idle 3s --udp-timeout 1s url udp://:5350 url tcp:// trigger url :53 docker-run "--network none wormhole/tools ${command}"`.replace(
          /create (.*?) --udp-timeout 1s/,
          'create --udp-timeout 1s $1',
        ),
      );
      assert.is((await host.run('docker ps -q')).stdout, '');
      assert.is(await askDatagram(host, 5350, { say: 'wake', seconds: 100 }), 'wake\n');
      await host.waitFor(async () => (await host.run('docker ps -q')).stdout === '', {
        timeout: 60,
        what: 'the container to stop',
      });
      await succeeds(host, 'delete asleep');
    });

    test('a head without a port gets one that is free, and keeps it', async () => {
      const host = at();
      const [id, url] = (await succeeds(host, 'create url udp://127.0.0.2 tail url :5301')).split(' ');
      assert.match(url as string, new RegExp(`^udp://127.0.0.2:${id}$`));
      assert.is(await askDatagram(host, Number(id), { say: 'free', address: '127.0.0.2' }), 'free\n');
      await succeeds(host, `delete ${id}`);
    });

    test('a port that another program has is refused, with its name', async () => {
      const host = at();
      await fails(
        host,
        'create url udp://:5301 tail url :5399',
        /127\.0\.0\.1:5301 on this host is in use already by node \(pid \d+\): stop what listens there/,
      );
      // A TCP server is no obstacle.
      await host.run('systemd-run --unit tcp socat TCP-LISTEN:5310,bind=127.0.0.1,fork EXEC:cat');
      await succeeds(host, 'create url udp://:5310 tail url :5301');
      await succeeds(host, 'delete 5310');
    });

    test('what cannot work says what would', async () => {
      const host = at();
      await fails(
        host,
        'create url udp://:5311 tail url tcp://:5301',
        /the head is udp and the tail tcp; udp leads to udp or unixgram/,
        2,
      );
      await fails(
        host,
        'create --udp-timeout 0 url udp://:5311 tail url :1',
        /--udp-timeout "0": expected a span of time/,
        2,
      );
    });

    test('a target that does not exist: one line in the journal', async () => {
      const host = at();
      await succeeds(host, 'create url udp://:5312 tail url :5313');
      assert.is(await askDatagram(host, 5312, { seconds: 6 }), '');
      const expected = /^link 5312: 127\.0\.0\.1:5313 .*this host.* refused datagrams for 5 s/m;
      await host.waitFor(
        async () => expected.test(await host.journal('-o', 'cat', '-u', 'wormhole-5312.service')),
        { timeout: 15, what: 'the line in the journal' },
      );
      await succeeds(host, 'delete 5312');
    });

    test('stop, start and a reboot', async () => {
      const host = at();
      await succeeds(host, 'stop 5300');
      assert.is(await askDatagram(host, 5300, { seconds: 5 }), '');
      await succeeds(host, 'start 5300');
      assert.is(await asked(host, 5300), 'hello\n');
      await host.reboot();
      await echo(host, 'echo', 5301);
      assert.is(await asked(host, 5300), 'hello\n');
    });

    test('a wildcard head answers from the address that was asked', async () => {
      const host = at();
      await succeeds(host, 'create id any url udp://0.0.0.0:5320 tail url :5301');
      const { address } = host;
      const clients = (to: string) => host.run(`${NODE}/udp-clients.mjs 5320 3 1 ${to}`);
      assert.is((await clients('127.0.0.1')).stdout, '3 right, 0 wrong\n');
      assert.is((await clients('127.0.0.5')).stdout, '3 right, 0 wrong\n');
      assert.is((await clients(address)).stdout, '3 right, 0 wrong\n');
      await succeeds(host, 'delete any');
    });

    test('deleting every link leaves nothing', async () => {
      const host = at();
      await succeeds(host, 'delete --all');
      await leavesNothing(host);
    });
  },
);
