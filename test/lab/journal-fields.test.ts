import * as assert from 'uvu/assert';
import { writeKey } from './cluster.ts';
import { installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/*
 * The fields of the journal, and the words of WORMHOLE_EVENT= (doc/operations.md): each is produced by real clients of real links, and
 * found by journalctl. Those of what needs Docker or an IPsec kernel are in the tests of that.
 */

type Entry = Record<string, unknown>;

/** The entries of a host's journal that have these fields. */
async function entries(host: Host, ...matches: string[]): Promise<Entry[]> {
  await host.run('journalctl --sync');
  const { stdout } = await host.run(['journalctl', '-q', '-o', 'json', '--no-pager', ...matches]);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

/** Waits until a link has logged an event with a message that matches, and returns that entry. */
async function logged(host: Host, id: string, event: string, message: RegExp): Promise<Entry> {
  const find = async () =>
    (await entries(host, `WORMHOLE_LINK=${id}`, `WORMHOLE_EVENT=${event}`)).find(({ MESSAGE }) =>
      message.test(String(MESSAGE)),
    );
  return (await host.waitFor(find, { timeout: 30, what: `${event} of link ${id}` })) as Entry;
}

/** Keeps a client connected under a unit of this name until that is stopped, and waits for the answer to what it says. */
async function hold(host: Host, unit: string, address: string, options = ''): Promise<void> {
  const client = `(echo hello; exec sleep 600) | socat -t 600 - TCP:${address} >/tmp/${unit}`;
  await host.run(
    `systemd-run -q -p SuccessExitStatus=143 --unit ${unit} ${options} -p SuccessExitStatus=1 sh -c '${client}'`,
  );
  await host.waitFor(
    async () => (await host.run(`cat /tmp/${unit}`, { check: false })).stdout === 'hello\n',
    {
      what: `the answer to ${unit}`,
    },
  );
}

const meets = (host: Host, port: number) =>
  host.run(`echo hello | nc -N -w 10 127.0.0.1 ${port}`, { check: false, timeout: 30 });

labSuite<{ near: Host; far: Host }>(
  'fields of the journal',
  async () => {
    const near = await installedHost({ name: 'near', docker: false });
    const far = await installedHost({ name: 'far', docker: false });
    await writeKey(far, (await near.run('cat /etc/wormhole/key.secret')).stdout);
    await near.run(
      'systemd-run -q -p SuccessExitStatus=143 --unit echo socat -t 20 TCP-LISTEN:7000,bind=127.0.0.1,fork,reuseaddr EXEC:cat',
    );
    return { near, far };
  },
  (test, at) => {
    test('of a target that refuses, with all that journald and systemd add', async () => {
      const { near } = at();
      await succeeds(near, 'create id top url :7001 chain id sub url :7002 tail url :6999');
      await meets(near, 7001);
      const entry = await logged(near, 'sub', 'unreachable', /6999 .*refused/);
      // Each field once, also those that the unit has.
      assert.is(entry.WORMHOLE_LINK, 'sub');
      assert.is(entry.WORMHOLE_ROOT, 'top');
      assert.is(entry.SYSLOG_IDENTIFIER, 'wormhole-sub');
      assert.is(entry.PRIORITY, '4');
      assert.is(entry._TRANSPORT, 'journal');
      assert.is(entry._SYSTEMD_UNIT, 'wormhole-sub.service');
      assert.match(String(entry.MESSAGE), /^link sub: /);
      assert.equal(await entries(near, 'WORMHOLE_LINK=top', 'WORMHOLE_EVENT=unreachable'), []);
    });

    test('of limits, and of sessions that end', async () => {
      const { near } = at();
      await succeeds(near, 'create --max-connections 2 --max-per-source 1 id full url :7011 tail url :7000');
      await hold(near, 'inside', '127.0.0.1:7011');
      await meets(near, 7011);
      await logged(near, 'full', 'refused', /refused 127\.0\.0\.1:\d+: 1 connections .*--max-per-source/);
      await near.run('systemctl stop inside');
      await succeeds(near, 'create --replace --max-connections 1 id full url :7011 tail url :7000');
      await hold(near, 'first', '127.0.0.1:7011');
      await meets(near, 7011);
      await logged(near, 'full', 'limited', /1 clients are connected/);
      await near.run('systemctl stop first');
      // A link of its own, so that no session with the other ends before the next client comes.
      await succeeds(near, 'create --idle-timeout 6s id quiet url :7012 tail url :7000');
      await hold(near, 'silent', '127.0.0.1:7012');
      await logged(near, 'quiet', 'timed-out', /--idle-timeout/);
    });

    test('of a forwarder that is restarted in the middle of a session', async () => {
      const { near } = at();
      await succeeds(near, 'create id kept url :7021 tail url :7000');
      await hold(near, 'keeps', '127.0.0.1:7021');
      await near.waitFor(
        async () =>
          !(await near.run('systemctl show -P NFileDescriptorStore wormhole-kept.service')).stdout.startsWith(
            '0',
          ),
        { what: 'the session to be stored' },
      );
      await near.run('systemctl restart wormhole-kept.service');
      await logged(near, 'kept', 'resumed', /took over 1 open session$/);
      // The last line of a process that has ended has the fields of its unit as well.
      const stopped = await logged(near, 'kept', 'stopped', /stopped by SIGTERM; 1 open session continue/);
      assert.is(stopped._SYSTEMD_UNIT, 'wormhole-kept.service');
      await near.run('systemctl stop keeps');
    });

    test('of a client whose network is gone', async () => {
      const { near } = at();
      await near.run(`ip netns add away; ip link add toaway type veth peer name eth0 netns away
        ip address add 10.91.0.1/24 dev toaway; ip link set toaway up
        ip -n away address add 10.91.0.2/24 dev eth0; ip -n away link set eth0 up`);
      await succeeds(near, 'create --keepalive 1s id away url 10.91.0.1:7031 tail url :7000');
      await hold(near, 'gone', '10.91.0.1:7031', '-p NetworkNamespacePath=/run/netns/away');
      await near.run('ip -n away link set eth0 down');
      await logged(near, 'away', 'lost', /a client can no longer be reached \((ETIMEDOUT|EHOSTUNREACH)/);
      await near.run('systemctl stop gone; ip netns delete away');
    });

    test('of a tail that stops, and accepts again', async () => {
      const { near } = at();
      await succeeds(near, 'create --balance first --check 1s id two url :7041 tail url :6998 or url :7000');
      await hold(near, 'served', '127.0.0.1:7041');
      await logged(near, 'two', 'avoided', /6998/);
      await near.run(
        'systemd-run -q -p SuccessExitStatus=143 --unit late socat -t 60 TCP-LISTEN:6998,bind=127.0.0.1,fork,reuseaddr EXEC:cat',
      );
      await logged(near, 'two', 'restored', /6998 accepts again/);
      await near.run('systemctl stop served late');
    });

    test('of what the machine does not give it', async () => {
      const { near } = at();
      await near.run('echo 127.0.0.1 named.lab >>/etc/hosts');
      await succeeds(near, 'create id named url :7051 tail url named.lab:7000');
      await meets(near, 7051);
      await near.run(
        'systemctl stop wormhole-named.service wormhole-names@named.service; echo nonsense >/run/wormhole/links/named/name',
      );
      await meets(near, 7051);
      await logged(near, 'named', 'failed', /name are of no use: it begins with "nonsense"/);
    });

    test('of other machines, and of what these ask for', async () => {
      const { near, far } = at();
      await succeeds(near, 'create id there url :7061 remote far tail url :6999');
      await meets(near, 7061);
      const peers = async (host: Host, event: string) =>
        new Set((await entries(host, `WORMHOLE_EVENT=${event}`)).map((entry) => entry.WORMHOLE_PEER));
      await near.waitFor(async () => (await peers(near, 'unreachable')).has('far'), {
        timeout: 30,
        what: 'the line about the other machine',
      });
      await far.waitFor(async () => (await peers(far, 'unreachable')).has('near'), {
        what: 'the line of the part, which names the machine that it belongs to',
      });
      const addresses = [near.address, near.address6];
      const [change] = await entries(far, 'WORMHOLE_EVENT=changed', '_SYSTEMD_UNIT=wormholed.service');
      assert.ok(addresses.includes(String(change?.WORMHOLE_PEER)), String(change?.WORMHOLE_PEER));
      const parts = JSON.parse(await succeeds(far, 'list --json')) as { id: string }[];
      assert.is(change?.WORMHOLE_LINK, parts[0]?.id);
      assert.match(String(change?.MESSAGE), /create our part of link there of near/);
      assert.is(change?.SYSLOG_IDENTIFIER, 'wormholed');
      await near.run('umask 077; od -An -N32 -tx1 /dev/urandom | tr -d " \\n" >/root/other');
      await wormhole(near, '-K /root/other -H far list');
      const isRefused = async () =>
        [...(await peers(far, 'refused'))].some((peer) => addresses.includes(String(peer)));
      await far.waitFor(isRefused, {
        timeout: 10,
        what: 'the line about the caller with another key',
      });
      await succeeds(near, 'delete there');
    });

    test('are out of reach for what clients send', async () => {
      const { near } = at();
      const evil = 'evil\\nWORMHOLE_LINK=evil\\nPRIORITY=0\\n<0>link evil: hello';
      await succeeds(near, 'create --accept-proxy-protocol 127.0.0.0/8 id proxied url :7071 tail url :7000');
      await near.run(`printf '${evil}\\r\\n' | nc -N -w 10 127.0.0.1 7071`, { check: false });
      await near.run(`printf 'PROXY TCP4 ${evil} 1.2.3.4 1 2\\r\\n' | nc -N -w 10 127.0.0.1 7071`, {
        check: false,
      });
      await logged(near, 'proxied', 'refused', /its PROXY header/);
      // A client names the file of its socket as it likes, and the forwarder may not send there.
      await near.run(
        'systemd-run -q -p SuccessExitStatus=143 --unit gram socat -t 60 UNIX-RECVFROM:/run/gram.sock,mode=0666,fork EXEC:cat',
      );
      await near.waitFor(() => near.run('test -S /run/gram.sock'), { what: 'the socket' });
      await succeeds(near, 'create id gram url unixgram:///run/g.sock tail url unixgram:///run/gram.sock');
      await near.run(
        `umask 077; echo hello | timeout 60 socat -t 20 - "UNIX-SENDTO:/run/g.sock,bind=$(printf '/tmp/${evil.replaceAll('/', '_').replaceAll(':', '')}')"`,
        { check: false },
      );
      const dropped = await logged(near, 'gram', 'dropped', /an answer to .*evil.*, which may not be sent/);
      assert.match(
        String(dropped.MESSAGE),
        /evil\ufffdWORMHOLE_LINK=evil\ufffdPRIORITY=0\ufffd<0>link evil hello/,
      );
      assert.equal(await entries(near, 'WORMHOLE_LINK=evil'), []);
      assert.equal(await entries(near, 'PRIORITY=0'), []);
    });

    test('a journald that is stopped does not delay the forwarder, and has everything later', async () => {
      const { near } = at();
      await succeeds(near, 'create --max-per-source 1 id stuck url :7081 tail url :7000');
      await succeeds(near, 'create id many url :7082 tail url :6999');
      await near.run('systemctl kill -s STOP --kill-who=main systemd-journald.service');
      try {
        // Nobody takes what these cause: more lines than the queue of the socket holds.
        await near.run(
          'for i in $(seq 600); do echo filler >/dev/udp/127.0.0.1/9 2>/dev/null; logger -d -u /run/systemd/journal/socket filler & done 2>/dev/null; sleep 1; kill $(jobs -p) 2>/dev/null; true',
          { timeout: 60 },
        );
        await hold(near, 'only', '127.0.0.1:7081');
        for (let n = 0; n < 5; n++) assert.is((await meets(near, 7081)).stdout, '');
        await meets(near, 7082);
        await near.run('systemctl stop only');
        await near.waitFor(async () => (await meets(near, 7081)).stdout === 'hello\n', {
          what: 'the place of the client that has gone',
        });
      } finally {
        await near.run('systemctl kill -s CONT --kill-who=main systemd-journald.service');
      }
      await logged(near, 'stuck', 'refused', /--max-per-source/);
      await logged(near, 'many', 'unreachable', /refused/);
    });

    test('a forwarder that does not reach the socket of journald writes to standard error', async () => {
      const { near } = at();
      await succeeds(near, 'create id old url :7091 tail url :6999');
      const dropIn = '/run/systemd/system/wormhole-old.service.d';
      await near.run(
        `mkdir -p ${dropIn}; printf '[Service]\\nInaccessiblePaths=+/run/systemd/journal\\n' >${dropIn}/old.conf; systemctl daemon-reload`,
      );
      await meets(near, 7091);
      const find = async () => (await entries(near, 'WORMHOLE_LINK=old', '_TRANSPORT=stdout'))[0];
      const entry = await near.waitFor(find, { timeout: 20, what: 'the line' });
      assert.match(String(entry?.MESSAGE), /^link old: .*6999 .*refused/);
      assert.is(entry?.WORMHOLE_EVENT, undefined);
      await near.run(`rm -r ${dropIn}; systemctl daemon-reload`);
    });

    test('deleting the links leaves nothing', async () => {
      const { near, far } = at();
      await succeeds(near, 'delete --all');
      for (const host of [near, far]) {
        await leavesNothing(host);
        assert.is(await host.failedUnits(), '');
      }
    });
  },
);
