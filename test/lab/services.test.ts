import * as assert from 'uvu/assert';
import { writeKey } from './cluster.ts';
import { fails, installedHost, succeeds } from './installed.ts';
import { allGone } from './pair.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

interface Fleet {
  near: Host;
  publishers: Host[];
}

const NAMES = ['one', 'two', 'three'];

/** Three machines with a database each, and one with its clients. */
async function start(): Promise<Fleet> {
  const near = await installedHost({ name: 'near', docker: false, packages: ['dnsmasq-base'] });
  const key = (await near.run('cat /etc/wormhole/key.secret')).stdout;
  const publishers: Host[] = [];
  for (const name of NAMES) {
    const host = await installedHost({ name, docker: false });
    await writeKey(host, key);
    // A server that starts at boot, says its name, and then what it hears.
    await host.run(`
      printf '%s\\n' '[Service]' "ExecStart=socat -t 60 TCP-LISTEN:5432,bind=127.0.0.1,reuseaddr,fork SYSTEM:'echo ${name}; cat'" '[Install]' WantedBy=multi-user.target >/etc/systemd/system/database.service
      systemctl enable --now database`);
    publishers.push(host);
  }
  return { near, publishers };
}

/** Lists machines of service db on a host. */
async function register(host: Host, lines: string[]): Promise<void> {
  await host.run(`printf '%s\\n' ${lines.map((line) => `'${line}'`).join(' ')} >/etc/wormhole/services.d/db`);
}

/** What a client hears that says nothing. */
async function hears(host: Host, port: number): Promise<string> {
  return (await host.run(`nc -N -w 50 127.0.0.1 ${port} </dev/null`, { check: false, timeout: 60 })).stdout;
}

/** Who has answered several clients, one after the other. Nobody gets no answer. */
async function answers(host: Host, clients = 6): Promise<string[]> {
  const heard: string[] = [];
  for (let n = 0; n < clients; n++) heard.push((await hears(host, 5432)).trim());
  assert.not.ok(heard.includes(''), `each client is served: ${heard.join()}`);
  return [...new Set(heard)].sort();
}

/** Begins a session, which stays open, with the machine of that name. */
async function session(host: Host, name: string): Promise<void> {
  await host.run(`
    mkfifo -m 600 /tmp/in-${name} || true
    for n in 1 2 3 4 5 6; do
      systemd-run -q --unit session-${name}-$n sh -c 'exec 3<>/tmp/in-${name}; nc 127.0.0.1 5432 <&3 >/tmp/out-${name}'
      until [ -s /tmp/out-${name} ]; do sleep 0.1; done
      grep -q '^${name}$' /tmp/out-${name} && exit
      systemctl stop session-${name}-$n; : >/tmp/out-${name}
    done
    exit 1`);
}

/** Whether a session carries bytes to its machine and back. */
async function isAlive(host: Host, name: string, text: string): Promise<void> {
  await host.run(`echo ${text} >/tmp/in-${name}`);
  await host.waitFor(async () => (await host.run(`cat /tmp/out-${name}`)).stdout.includes(text), {
    what: `session with ${name} to carry ${text}`,
  });
}

labSuite('a service that several machines publish', start, (test, at) => {
  const one = () => at().publishers[0] as Host;
  const two = () => at().publishers[1] as Host;
  const three = () => at().publishers[2] as Host;

  test('what is wrong is said in one line, and nothing is left', async () => {
    const { near, publishers } = at();
    await fails(
      near,
      'create url :5432 remote service:db',
      /^wormhole: service "db" is unknown: list its machines in \/etc\/wormhole\/services.d\/db/,
    );
    await register(near, ['one', 'two weight 0']);
    await fails(
      near,
      'create url :5432 remote service:db',
      /^wormhole: \/etc\/wormhole\/services.d\/db:2: weight "0" is not a whole number/,
    );
    await register(near, ['# the databases', 'one', 'two', 'three # the new one']);
    await fails(
      near,
      'create url :5432 remote service:db',
      /no machine of service "db" can be used: machine one: service "db" is not published here; machine two/,
    );
    await fails(
      one(),
      'publish db url :5432 tail url :5432',
      /what is published begins with tail or trigger/,
      2,
    );
    await fails(one(), 'publish db tail docker-ns nothing', /./);
    await fails(one(), 'unpublish db', /service "db" is not published here/);
    await allGone(near, ...publishers);
  });

  test('clients are served by all machines that publish it', async () => {
    const { near } = at();
    for (const host of [one(), two()]) await succeeds(host, 'publish db tail url :5432');
    const created = await near.run('wormhole create --balance round-robin url :5432 remote service:db');
    assert.match(
      created.stderr,
      /machine three: service "db" is not published here. It is asked again for a client/,
    );
    assert.equal(await answers(near), ['one', 'two']);
    // It is held meanwhile.
    await succeeds(three(), 'publish db tail url :5432');
    await near.waitFor(async () => (await answers(near)).length === 3, {
      timeout: 60,
      what: 'three to get clients',
    });
    assert.match(await succeeds(near, 'export 5432'), /^ +remote service:db$/m);
    assert.match(
      await succeeds(near, 'services'),
      /^db +- +- +one, two, three +\/etc\/wormhole\/services.d\/db +5432/m,
    );
    assert.match(
      await succeeds(one(), 'services'),
      /^db +tail url tcp:\/\/127.0.0.1:5432 +5432-to-one of near/m,
    );
  });

  test('a machine that leaves the list keeps its session, and gets no new one', async () => {
    const { near } = at();
    await session(near, 'three');
    await session(near, 'one');
    await register(near, ['one', 'two']);
    await near.waitFor(async () => /three \(leaving\)/.test(await near.journal('-t', 'wormhole-services')), {
      what: 'the link to be changed',
    });
    assert.equal(await answers(near), ['one', 'two']);
    await isAlive(near, 'three', 'still');
    await isAlive(near, 'one', 'stays');
    // With its last session, its part goes.
    await near.run('systemctl stop "session-three-*"');
    const parts = 'ls /etc/systemd/system | grep wormhole-near || true';
    await near.waitFor(async () => (await three().run(parts)).stdout === '', {
      timeout: 60,
      what: 'the part on three to go',
    });
    await allGone(three());
    await register(near, ['one', 'two', 'three']);
    await near.waitFor(async () => (await answers(near)).length === 3, {
      timeout: 60,
      what: 'three to be back',
    });
    await isAlive(near, 'one', 'after');
  });

  test('when a machine loses power, its clients go to others, and it comes back', async () => {
    const { near } = at();
    await isAlive(near, 'one', 'before');
    await two().crash();
    assert.equal(await answers(near), ['one', 'three']);
    await isAlive(near, 'one', 'meanwhile');
    await two().start();
    await near.waitFor(async () => (await answers(near)).length === 3, {
      timeout: 90,
      what: 'two to be back',
    });
  });

  test('when a machine publishes it no more, clients go to others, and nothing of it is left there', async () => {
    const { near } = at();
    await succeeds(three(), 'unpublish db');
    await allGone(three());
    assert.equal(await answers(near), ['one', 'two']);
    await isAlive(near, 'one', 'unpublished');
    await succeeds(three(), 'publish db tail url :5432');
    await near.waitFor(async () => (await answers(near)).length === 3, {
      timeout: 60,
      what: 'three to be back',
    });
  });

  test('a registry that is gone breaks nothing, and is reported once', async () => {
    const { near } = at();
    await near.run('rm /etc/wormhole/services.d/db');
    const reported = async () =>
      (await near.journal('-t', 'wormhole-services')).match(
        /link 5432: service db: .* is unknown.* stay in use: one, two, three/g,
      )?.length;
    await near.waitFor(async () => (await reported()) === 1, { what: 'a line in the journal' });
    await near.run('systemctl start wormhole-services@_all.service');
    assert.is(await reported(), 1);
    await near.reboot();
    await near.waitFor(async () => (await hears(near, 5432)) !== '', { timeout: 60, what: 'an answer' });
    await near.waitFor(async () => (await answers(near)).length === 3, { timeout: 60, what: 'all three' });
  });

  test('SRV records of DNS are followed, and a server that is down breaks nothing', async () => {
    const { near, publishers } = at();
    const name = '_db._tcp.lab';
    await fails(
      near,
      `create url :5433 remote service:${name}`,
      /SRV records of service "_db._tcp.lab" cannot be looked up: ECONNREFUSED/,
    );
    const serve = (...records: string[]) =>
      near.run(`
        systemctl stop dnsmasq 2>/dev/null
        echo nameserver 127.0.0.1 >/etc/resolv.conf
        systemd-run -q --collect --unit dnsmasq dnsmasq -k -C /dev/null --user=root --no-resolv --no-hosts --local=/lab/ \\
          ${records.map((record) => `--srv-host=${name},${record}`).join(' ')}
        until [ "$(ss -Hlun sport = :53)" ]; do sleep 0.1; done`);
    await serve();
    await fails(near, `create url :5433 remote service:${name}`, /DNS has no SRV record of that name/);
    await serve('one,1,10', 'two,1,10', 'three,1,20');
    for (const host of publishers) await succeeds(host, `publish ${name} tail url :5432`);
    await succeeds(near, `create --balance round-robin url :5433 remote service:${name}`);
    const heard = async () => {
      const all = new Set<string>();
      for (let n = 0; n < 4; n++) all.add((await hears(near, 5433)).trim());
      return [...all].sort().join();
    };
    assert.is(await heard(), 'one,two');
    await near.run('systemctl stop dnsmasq; systemctl start wormhole-services@_all.service');
    assert.is(await heard(), 'one,two');
    await serve('two,1,10', 'three,1,10');
    await near.run('systemctl start wormhole-services@_all.service');
    assert.is(await heard(), 'three,two');
    await succeeds(near, 'delete 5433');
    for (const host of publishers) await succeeds(host, `unpublish ${name}`);
  });

  test('delete removes all parts', async () => {
    const { near, publishers } = at();
    await succeeds(near, 'delete 5432');
    await allGone(near, ...publishers);
  });
});
