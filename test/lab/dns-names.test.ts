import * as assert from 'uvu/assert';
import type { LinkDetails } from '../../src/api/listing-schema.ts';
import { askDatagram } from './ask-datagram.ts';
import { writeKey } from './cluster.ts';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* Tails that have DNS names. A host has a DNS server and programs at several addresses; what it answers is changed as in life. */

/** Addresses of the host with the server, beside its own. */
const [A, B, SIX, DEAD] = ['10.90.0.201', '10.90.0.202', 'fd90::203', '10.90.0.209'];

interface Hosts {
  near: Host;
  far: Host;
  dns: Host;
}

/** Makes the server answer as these lines of dnsmasq.conf say; all else in `lab` does not exist. */
async function answers(dns: Host, ...lines: string[]): Promise<void> {
  const config = [
    'port=53',
    'no-resolv',
    'no-hosts',
    'local=/lab/',
    'local-ttl=0',
    'user=root',
    ...lines,
    '',
  ];
  await dns.run('systemctl stop dnsmasq 2>/dev/null; cat >/etc/lab.conf', { input: config.join('\n') });
  await dns.run(
    'systemd-run -q --collect --unit dnsmasq dnsmasq --keep-in-foreground --conf-file=/etc/lab.conf',
  );
  await dns.waitFor(async () => (await dns.run('ss -Hlun sport = :53')).stdout !== '', {
    what: 'the DNS server',
  });
}

/** A program on the host that says a word at an address, to connections and to datagrams. */
async function says(dns: Host, address: string, word: string): Promise<void> {
  const six = address.includes(':');
  const [tcp, udp, at] = six ? ['TCP6', 'UDP6', `[${address}]`] : ['TCP4', 'UDP4', address];
  await dns.run(`
    ip addr add ${address}/${six ? '64 nodad' : 24} dev eth0
    systemd-run -q --unit tcp-${word} socat ${tcp}-LISTEN:7000,bind=${at},fork,reuseaddr EXEC:'echo ${word}'
    systemd-run -q --unit udp-${word} socat ${udp}-RECVFROM:7000,bind=${at},fork SYSTEM:'read said; echo ${word}'`);
}

/** What a client of a port hears: '' when it is closed without a word. */
async function hears(near: Host, port: number): Promise<string> {
  const { stdout } = await near.run(`nc -w 50 127.0.0.1 ${port} </dev/null`, { check: false, timeout: 60 });
  return stdout.trim();
}

async function stateOf(near: Host, id: string): Promise<string> {
  const links = JSON.parse(await succeeds(near, 'list --json')) as {
    id: string;
    state: string;
    detail: string;
  }[];
  const link = links.find((one) => one.id === id);
  return `${link?.state}: ${link?.detail}`;
}

async function said(near: Host, id: string): Promise<string> {
  await near.run('journalctl --sync');
  return (await near.run(`journalctl -q -o cat -t wormhole-${id} --no-pager`)).stdout;
}

labSuite<Hosts>(
  'names',
  async () => {
    const near = await installedHost({ name: 'near' });
    const dns = await boot({ name: 'dns', docker: false, packages: ['dnsmasq-base'] });
    for (const [address, word] of [
      [A, 'first'],
      [B, 'second'],
      [SIX, 'sixth'],
    ] as const)
      await says(dns, address, word);
    const far = await installedHost({ name: 'far', docker: false });
    await writeKey(far, (await near.run('cat /etc/wormhole/key.secret')).stdout);
    for (const host of [near, far])
      await host.run('cat >/etc/resolv.conf', { input: `nameserver ${dns.address}\nsearch lab\n` });
    return { near, far, dns };
  },
  (test, at) => {
    test('a record that changes is followed when its TTL is over, and nothing runs while nobody is connected', async () => {
      const { near, dns } = at();
      await answers(dns, `host-record=db.lab,${A},2`);
      assert.is(
        await succeeds(near, 'create id db idle 3s url :7001 tail url DB.lab:7000'),
        '7001 tcp://127.0.0.1:7001'.replace('7001 ', 'db '),
      );
      assert.is(await hears(near, 7001), 'first');
      await answers(dns, `host-record=db.lab,${B},2`);
      await near.waitFor(async () => (await hears(near, 7001)) === 'second', { what: 'the new address' });
      assert.match(await said(near, 'db'), /^link db: db\.lab is 10\.90\.0\.202:7000\.$/m);
      await near.waitFor(
        async () =>
          (
            await near.run(
              "systemctl list-units --plain --no-legend --state=active 'wormhole-names@*' 'wormhole-db.service'",
            )
          ).stdout === '',
        { what: 'everything to end' },
      );
      // The first client after that does not use what was known before.
      await answers(dns, `host-record=db.lab,${A},2`);
      assert.is(await hears(near, 7001), 'first');
    });

    test('the sandboxes hold, and the recipe is the state: list, edit in place, upgrade, reboot', async () => {
      const { near, dns } = at();
      assert.match(await succeeds(near, 'list'), /^db +tcp:\/\/127\.0\.0\.1:7001 +tcp:\/\/db\.lab:7000 /m);
      await succeeds(near, 'create --replace id db idle 3s url :7001 tail url tcp://second.lab:7000');
      await answers(dns, `host-record=second.lab,${B},60`, `host-record=db.lab,${A},60`);
      assert.is(await hears(near, 7001), 'second');
      await succeeds(near, 'create --replace id db url :7001 tail url :7999');
      assert.is((await near.run('ls /etc/systemd/system | grep names@ || true')).stdout, '');
      await succeeds(near, 'create --replace id db idle 60s url :7001 tail url db.lab:7000');
      await near.run(
        'sed -i "/^MemoryMax/d" /etc/systemd/system/wormhole-names@db.service; wormhole upgrade --force',
      );
      assert.match(
        (await near.run('cat /etc/systemd/system/wormhole-names@db.service')).stdout,
        /^MemoryMax=/m,
      );
      await near.reboot();
      await near.run('cat >/etc/resolv.conf', { input: `nameserver ${dns.address}\nsearch lab\n` });
      assert.is(await hears(near, 7001), 'first');
      const filter = async (name: string) =>
        (await near.run(`systemctl show -P ${name} wormhole-db.service`)).stdout.trim();
      assert.match(await filter('IPAddressDeny'), /127\.0\.0\.0\/8/);
    });

    test('of the addresses of both families, a dead one costs no client', async () => {
      const { near, dns } = at();
      // One hangs, since nobody has that address, and one refuses.
      await dns.run(`ip addr add fd90::208/64 nodad dev eth0`);
      await answers(
        dns,
        `host-record=two.lab,${DEAD},${SIX},60`,
        `host-record=four.lab,${B},fd90::208,60`,
        `host-record=away.lab,${B},2001:db8::1,60`,
      );
      await succeeds(near, 'create id two url :7002 tail url two.lab:7000');
      await succeeds(near, 'create id four url :7003 tail url four.lab:7000');
      await succeeds(near, 'create id away url :7008 tail url away.lab:7000');
      assert.is(await hears(near, 7008), 'second');
      assert.is(await said(near, 'away'), '', 'that there is no way to IPv6 is no news');
      await succeeds(near, 'delete away');
      for (let n = 0; n < 3; n++) assert.is(await hears(near, 7002), 'sixth');
      for (let n = 0; n < 3; n++) assert.is(await hears(near, 7003), 'second');
      // A forwarder hears later than the client that this has gone.
      for (const id of ['two', 'four'])
        await near.waitFor(async () => /^connected: 0 open, 3 served/.test(await stateOf(near, id)), {
          what: `three clients of ${id} to be served`,
        });
      assert.match(
        await said(near, 'four'),
        /four\.lab:7000: \[fd90::208\]:7000 does not accept; for 60 s its other addresses are tried first/,
      );
      for (const id of ['two', 'four']) await succeeds(near, `delete ${id}`);
    });

    test('a name that does not exist costs a line and no link, and serves once it appears', async () => {
      const { near, dns } = at();
      await answers(dns);
      await succeeds(near, 'create id late url :7004 tail url late.lab:7000');
      assert.is(await hears(near, 7004), '');
      assert.match(
        await stateOf(near, 'late'),
        /^waiting: for an address: late\.lab does not exist: NXDOMAIN \(asked 10\.90\.0\.\d+\)$/,
      );
      assert.match(
        await said(near, 'late'),
        /^link late: late\.lab does not exist: NXDOMAIN \(asked [\d.]+\)\. Clients wait for 5 s, and are closed then; it is looked up again for each\.$/m,
      );
      assert.match(
        await said(near, 'late'),
        /^link late: no address of late\.lab:7000 on this host is known: late\.lab does not exist: .* closed the client/m,
      );
      const client = near.run('nc -w 50 127.0.0.1 7004 </dev/null', { check: false, timeout: 60 });
      await answers(dns, `host-record=late.lab,${A},2`);
      assert.is((await client).stdout || `${await hears(near, 7004)}\n`, 'first\n');
      // A name without a dot is completed.
      await succeeds(near, 'create id short url :7005 tail url late:7000');
      assert.is(await hears(near, 7005), 'first');
      await succeeds(near, 'delete short');
    });

    test('show and the fields of the journal know the units that look up a name', async () => {
      const { near } = at();
      const looked = /^link late: late\.lab does not exist: NXDOMAIN /;
      const { units, journal }: LinkDetails = JSON.parse(await succeeds(near, 'show --json late'));
      assert.equal(
        units.map(({ name, load }) => `${name} ${load}`),
        [
          'wormhole-late.socket loaded',
          'wormhole-late.service loaded',
          'wormhole-names@late.socket loaded',
          'wormhole-names@late.service loaded',
        ],
      );
      assert.ok(
        journal.some(({ text }) => looked.test(text)),
        JSON.stringify(journal),
      );
      const { stdout } = await near.run('journalctl -q -o cat --no-pager WORMHOLE_LINK=late');
      assert.ok(
        stdout.split('\n').some((line) => looked.test(line)),
        stdout,
      );
    });

    test('the last known addresses stay in use while the DNS server is away, and while it fails', async () => {
      const { near, dns } = at();
      assert.is(await hears(near, 7004), 'first');
      await dns.run('systemctl stop dnsmasq');
      const everyone = async (ms: number) => {
        for (const end = Date.now() + ms; Date.now() < end; ) assert.is(await hears(near, 7004), 'first');
      };
      await everyone(6000);
      await near.waitFor(async () => /no DNS server answers/.test(await said(near, 'late')), {
        what: 'a line about it',
      });
      assert.match(
        await said(near, 'late'),
        /^link late: late\.lab cannot be looked up: no DNS server answers \(asked [\d.]+\)\. The last known addresses, 10\.90\.0\.201:7000, stay in use; it is looked up again while clients come\.$/m,
      );
      // Without a server to pass it on to, dnsmasq refuses.
      await answers(dns, 'server=/late.lab/127.0.0.1#5399');
      await everyone(2000);
      await answers(dns, `host-record=late.lab,${B},2`);
      await near.waitFor(async () => (await hears(near, 7004)) === 'second', { what: 'the new address' });
      await succeeds(near, 'delete late');
    });

    test('a session of datagrams uses the address that works', async () => {
      const { near, dns } = at();
      // To one there is no way, and one refuses.
      for (const dead of ['2001:db8::1', 'fd90::208']) {
        await answers(dns, `host-record=log.lab,${B},${dead},60`);
        await succeeds(near, 'create id log url udp://:7006 tail url udp://log.lab:7000');
        assert.is(await askDatagram(near, 7006, { seconds: 30 }), 'second\n', dead);
        await succeeds(near, 'delete log');
      }
    });

    test('/etc/hosts counts first, also for the loopback interface; DNS never leads there, nor to metadata', async () => {
      const { near, dns } = at();
      await answers(
        dns,
        `host-record=db.lab,${A},60`,
        'host-record=rebound.lab,127.0.0.1,60',
        'host-record=metadata.lab,169.254.169.254,60',
        `host-record=mixed.lab,${B},::1,60`,
      );
      await near.run(
        'systemd-run -q --unit local socat TCP-LISTEN:7000,bind=127.0.0.1,fork,reuseaddr EXEC:"echo local"',
      );
      await near.addToHosts(`${B} listed\n127.0.0.1 own.service\n`);
      for (const [port, name] of [
        [7010, 'listed'],
        [7011, 'own.service'],
        [7012, 'rebound.lab'],
        [7013, 'metadata.lab'],
        [7014, 'mixed.lab'],
        [7015, 'app.localhost'],
      ])
        await succeeds(near, `create id n${port} url :${port} tail url ${name}:7000`);
      assert.is(await hears(near, 7010), 'second');
      assert.is(await hears(near, 7011), 'local');
      assert.is(await hears(near, 7012), '');
      assert.match(
        await stateOf(near, 'n7012'),
        /^waiting: for an address: rebound\.lab is 127\.0\.0\.1 \(DNS, asked .*\), where a name leads nobody/,
      );
      assert.is(await hears(near, 7013), '');
      assert.match(await said(near, 'n7013'), /metadata\.lab is 169\.254\.169\.254/);
      assert.is(await hears(near, 7014), 'second');
      assert.is(await hears(near, 7015), 'local');
      // What a forwarder that is told otherwise could reach: nothing on the loopback interface.
      const page = `wormhole name 1\\nname mixed.lab:7000\\naddress 127.0.0.1:7000\\nuntil 99999999999\\nend\\n`;
      await near.run(
        `systemctl stop wormhole-n7014.service; printf '${page}' >/run/wormhole/links/n7014/name`,
      );
      assert.is(await hears(near, 7014), 'second', 'it has failed, and the name was looked up');
      for (let port = 7010; port <= 7015; port++) await succeeds(near, `delete n${port}`);
    });

    test('in a container, its own DNS server counts: the names of other containers, which move', async () => {
      const { near } = at();
      await near.run('docker network create lab');
      const db = (word: string, ip: string) =>
        near.run(
          `docker rm -f db 2>/dev/null; docker run -d --name db --network lab --ip ${ip} wormhole/tools socat TCP-LISTEN:7000,fork,reuseaddr EXEC:'echo ${word}'`,
        );
      await near.run('docker network rm lab; docker network create --subnet 172.30.0.0/24 lab');
      await db('old', '172.30.0.20');
      await near.run('docker run -d --name app --network lab wormhole/tools sleep infinity');
      await succeeds(near, 'create id inside url :7020 docker-ns tail url db:7000 docker-ns app');
      assert.is(await hears(near, 7020), 'old');
      await db('new', '172.30.0.21');
      await near.waitFor(async () => (await hears(near, 7020)) === 'new', {
        timeout: 120,
        what: 'the new container',
      });
      // This machine does not know that name.
      await succeeds(near, 'create id outside url :7021 tail url db:7000');
      assert.is(await hears(near, 7021), 'first');
      // What a program in the container writes there costs neither memory nor the link.
      await near.run('docker exec app truncate -s 3000M /etc/hosts; docker restart -t 0 app');
      await near.waitFor(async () => (await hears(near, 7020)) === 'new', {
        what: 'the link after a restart',
      });
      for (const id of ['inside', 'outside']) await succeeds(near, `delete ${id}`);
      await near.run('docker rm -f db app; docker network rm lab');
    });

    test('in a named namespace, /etc/netns counts', async () => {
      const { near } = at();
      await near.run(`
        ip netns add blue-1; ip -n blue-1 link set lo up
        ip link add veth0 type veth peer name eth0 netns blue-1
        ip addr add 10.77.0.1/24 dev veth0; ip link set veth0 up
        ip -n blue-1 addr add 10.77.0.2/24 dev eth0; ip -n blue-1 link set eth0 up
        mkdir -p /etc/netns/blue-1; echo '10.77.0.1 outside' >/etc/netns/blue-1/hosts
        systemd-run -q --unit blue socat TCP-LISTEN:7000,bind=10.77.0.1,fork,reuseaddr EXEC:'echo blue'`);
      await succeeds(near, 'create id blue url :7030 tail url blue-1@outside:7000');
      assert.is(await hears(near, 7030), 'blue');
      await succeeds(near, 'delete blue');
      await near.run(
        'ip netns del blue-1; rm -r /etc/netns/blue-1; systemctl stop blue; systemctl reset-failed',
      );
    });

    test('a machine that has a name is reached at any of its addresses, and followed to a new one', async () => {
      const { near, far, dns } = at();
      const dead = [`host-record=peer.lab,${DEAD},fd90::209,2`, 'host-record=peer.lab,10.90.0.207,2'];
      await answers(dns, ...dead, `host-record=peer.lab,${far.address},2`, `host-record=db.lab,${A},60`);
      await far.run(
        `systemd-run -q --unit own socat TCP-LISTEN:7000,bind=127.0.0.1,fork,reuseaddr EXEC:'echo far'`,
      );
      await succeeds(near, 'ping peer.lab');
      await succeeds(near, '-H peer.lab list');
      await succeeds(near, 'create id away idle 60s url :7040 remote peer.lab tail url :7000');
      // The name of a tail there is looked up there.
      await succeeds(near, 'create id beyond url :7041 remote peer.lab tail url db:7000');
      assert.is(await hears(near, 7040), 'far');
      assert.is(await hears(near, 7041), 'first');
      await far.run(
        `ip addr add 10.90.0.204/24 dev eth0; ip addr del ${far.address}/24 dev eth0; ip addr add 10.90.0.204/24 dev eth0 2>/dev/null; true`,
      );
      await answers(dns, ...dead, 'host-record=peer.lab,10.90.0.204,2', `host-record=db.lab,${A},60`);
      await near.waitFor(async () => (await hears(near, 7040)) === 'far', { timeout: 90, what: 'the link' });
      assert.match(await succeeds(near, 'list'), /^away .*10\.90\.0\.204:\d+ on machine peer\.lab/m);
      for (const id of ['away', 'beyond']) await succeeds(near, `delete ${id}`);
      await leavesNothing(far);
    });

    test('a resolver on this machine, as systemd-resolved is one, to which resolv.conf is a symbolic link', async () => {
      const { near, dns } = at();
      await answers(dns, `host-record=db.lab,${B},60`);
      await near.run(`
        systemd-run -q --unit stub socat UDP4-RECVFROM:53,bind=127.0.0.53,fork,reuseaddr UDP4:${dns.address}:53
        until ss -Hlun src 127.0.0.53 | grep -q .; do sleep 0.05; done
        echo 'nameserver 127.0.0.53' >/run/stub.conf; ln -sf ../run/stub.conf /etc/resolv.conf`);
      await succeeds(near, 'create id stub url :7050 tail url db.lab:7000');
      assert.is(await hears(near, 7050), 'second');
      await succeeds(near, 'delete stub');
      await near.run(
        `systemctl stop stub; systemctl reset-failed; rm /etc/resolv.conf; echo 'nameserver ${dns.address}' >/etc/resolv.conf`,
      );
    });

    test('a user who floods the socket that forwarders ask at has few lookups made, and keeps no client waiting', async () => {
      const { near, dns } = at();
      await answers(dns, `host-record=busy.lab,${A},1`, 'log-queries', 'log-facility=/run/queries');
      await succeeds(near, 'create id busy url :7060 tail url busy.lab:7000');
      assert.is(await hears(near, 7060), 'first');
      const flood = near.spawn([
        'setpriv',
        '--reuid=65534',
        '--regid=65534',
        '--clear-groups',
        'node',
        '-e',
        `const { connect } = require('node:net');
         const again = () => { const one = connect('/run/wormhole/links/busy/ask'); one.on('error', () => {}); one.on('close', () => setTimeout(again, 1)); };
         for (let n = 0; n < 200; n++) again();`,
      ]);
      try {
        const asked = async () => Number((await dns.run('grep -c "query\\[A\\] busy" /run/queries')).stdout);
        const began = performance.now();
        const before = await asked();
        for (let n = 0; n < 10; n++) assert.is(await hears(near, 7060), 'first');
        await near.run('sleep 3');
        const lookups = (await asked()) - before;
        assert.ok(lookups <= (performance.now() - began) / 1000 + 2, `${lookups} lookups`);
      } finally {
        await flood.stop('SIGKILL');
      }
      await succeeds(near, 'delete busy');
    });

    test('what is wrong is told when the link is created', async () => {
      const { near } = at();
      const fails = async (args: string) => {
        const { stderr, status } = await near.run(`wormhole create ${args}`, { check: false });
        assert.is(status, 2, args);
        return stderr;
      };
      assert.match(
        await fails('url db.lab:80 tail url :80'),
        /host "db\.lab" is a name, and a head listens at an address/,
      );
      assert.match(await fails('url :80 tail url bücher.lab:80'), /write "xn--bcher-kva\.lab"/);
    });

    test('nothing is left', async () => {
      const { near } = at();
      await succeeds(near, 'delete db');
      await near.run('rm -r /var/lib/wormhole/replaced');
      await near.run('systemctl stop local; systemctl reset-failed');
      await leavesNothing(near);
      assert.is(await near.failedUnits(), '');
    });
  },
);
