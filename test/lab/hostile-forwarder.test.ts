import * as assert from 'uvu/assert';
import { installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import { listens } from './listening.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/*
 * What hostile code can reach that has taken the place of a forwarder: hostile-forwarder.mjs runs in its unit instead, and all that it
 * tells is compared with what is known and accepted (doc/security.md). What is not in the lists below does not work.
 */

const METADATA = '169.254.169.254:6000';

/** What the attacker tells: see hostile-forwarder.mjs. */
interface Report {
  readable: string[];
  writable: string[];
  sockets: string[];
  devices: string[];
  absent: string[];
  unix: Record<string, string>;
  abstract: Record<string, string>;
  own: Record<string, string>;
  datagrams: Record<string, string>;
  recycled: Record<string, string>;
  listening: string;
  figures: Record<string, string>;
  openFiles: string[];
  families: string[];
  processes: string[];
  proc: string[];
  signalled: number[];
  forbidden: Record<string, string>;
  shell: string;
  node: string;
  environment: string[];
  groups: number[];
  status: string;
  forged: string;
  capabilities: string[];
  limits: string[];
}

/** Sockets that rule a machine, or tell of it. */
const POWERFUL = [
  '/run/docker.sock',
  '/var/run/docker.sock',
  '/run/containerd/containerd.sock',
  '/run/dbus/system_bus_socket',
  '/run/systemd/private',
  '/run/systemd/io.system.ManagedOOM',
  '/run/systemd/journal/socket',
  '/run/systemd/journal/stdout',
  '/run/wormhole.sock',
  '/run/wormhole-far.sock',
];

/** What every forwarder reaches: systemd, to which it tells its state, and the journal. */
const SOCKETS = ['/run/systemd/journal/socket', '/run/systemd/notify'];

/** Files that everybody on the machine can read, and others. */
const FILES = [
  '/etc/passwd',
  '/etc/hostname',
  '/etc/machine-id',
  '/etc/systemd/system',
  '/etc/wormhole/key.secret',
  '/etc/wormhole',
  '/home',
  '/srv/readable',
  '/usr/bin',
  '/usr/local/lib/wormhole/LICENSE',
  '/var/lib/docker',
  '/var/log/journal',
  '/run/wormhole/netns',
  '/run/wormhole/links/other',
];

interface Site {
  host: Host;
  /** A host beside it. */
  outside: Host;
}

/** A link whose forwarder is attacked, and where its target, which collects the report, is. */
interface Attack {
  id: string;
  recipe: string;
  /** The port of the head. */
  port: number;
  target: string;
  /** The container in whose namespace the target listens. */
  container?: string;
}

async function attack(
  { host, outside }: Site,
  { id, recipe, port, target, container }: Attack,
): Promise<Report> {
  await succeeds(host, `create id ${id} ${recipe}`);
  const addresses = [
    target,
    // Other services beside the target.
    '127.0.0.1:6000',
    `${host.address}:6000`,
    `${outside.address}:6000`,
    // The metadata of a cloud.
    METADATA,
  ];
  const plan = { target, addresses, unix: POWERFUL, paths: [...POWERFUL, ...FILES] };
  const dropIn = `/run/systemd/system/wormhole-${id}.service.d`;
  const node = (
    await host.run(`sed -n 's/^ExecStart=\\(\\S*\\) .*/\\1/p' /etc/systemd/system/wormhole-${id}.service`)
  ).stdout.trim();
  await host.run(`mkdir -p ${dropIn}; cat >${dropIn}/hostile.conf; systemctl daemon-reload`, {
    input: `[Service]
Type=exec
Restart=no
WatchdogSec=0
NotifyAccess=main
ExecStart=
ExecStart=${node} /attack/main.mjs '${JSON.stringify(plan)}'
BindReadOnlyPaths=/src/wormhole/test/lab/hostile-forwarder.mjs:/attack/main.mjs
BindReadOnlyPaths=/src/wormhole/node_modules/koffi:/attack/node_modules/koffi
BindReadOnlyPaths=/src/wormhole/node_modules/@koromix:/attack/node_modules/@koromix
`,
  });
  const [, listenPort] = target.split(':');
  const pid = container && (await host.container(container).inspect('{{.State.Pid}}')).trim();
  const inside = container ? `nsenter -t ${pid} -n` : '';
  // It is connected to more than once.
  const collect = `socat -u TCP-LISTEN:${listenPort},reuseaddr,fork OPEN:/root/report-${id},creat,append`;
  const collector = host.spawn(`rm -f /root/report-${id}; exec ${inside} ${collect}`);
  await listens(host, Number(listenPort), container === undefined ? {} : { container });
  const client = host.spawn(`exec nc 127.0.0.1 ${port}`);
  const report = () => host.run(`tail -n 1 /root/report-${id}`, { check: false });
  try {
    await host.waitFor(async () => (await report()).stdout.endsWith('}\n'), {
      timeout: 60,
      what: 'the report',
    });
    // What it says of itself reaches no terminal as it is.
    const listed = await succeeds(host, 'list');
    assert.match(listed, /failing +\S*evil/, listed);
    assert.not.match(listed, /(?!\n)\p{Cc}/u);
    return JSON.parse((await report()).stdout);
  } finally {
    await Promise.all([client.stop(), collector.stop()]);
    await host.run(`systemctl stop wormhole-${id}.service; rm -r ${dropIn}; systemctl daemon-reload`);
  }
}

/** The paths that a unit shows its forwarder. */
async function shown(host: Host, id: string): Promise<string[]> {
  const { stdout } = await host.run(
    `sed -n 's/^BindReadOnlyPaths=-\\?//p' /etc/systemd/system/wormhole-${id}.service`,
  );
  return stdout.trim().split('\n');
}

/** Readable files by what the unit shows: each once, and those that it does not show as they are. */
function byOrigin(files: string[], origins: string[]): string[] {
  const found = files.map(
    (file) => origins.find((origin) => file === origin || file.startsWith(`${origin}/`)) ?? file,
  );
  return [...new Set(found)].sort();
}

/** The unix sockets that it can connect to, with the kinds that work. */
function reachable({ unix }: Report): string[] {
  return Object.entries(unix)
    .filter(([, kinds]) => kinds !== '')
    .map(([path, kinds]) => `${path} ${kinds}`)
    .sort();
}

/** What is the same for every forwarder. */
async function isConfined(host: Host, id: string, report: Report, ownPaths: string[] = []): Promise<void> {
  const paths = await shown(host, id);
  const program = '/usr/local/lib/wormhole';
  const libraries = paths.filter((path) => /\/lib(64|exec)?(\/|$)/.test(path) && !path.startsWith(program));
  assert.equal(
    paths.filter((path) => !libraries.includes(path)),
    [`${program}/node`, `${program}/dist`, ...SOCKETS.toReversed(), ...ownPaths],
  );
  assert.equal(
    byOrigin(report.readable, [...paths, '/attack']),
    ['/attack', ...libraries, ...paths.filter((path) => path.startsWith(program))].sort(),
    'files that it can read',
  );
  assert.equal(report.writable, [], 'directories that it can write to');
  const dev = ['full', 'null', 'random', 'tty', 'urandom', 'zero'].map((name) => `/dev/${name}`);
  assert.equal(report.devices.sort(), dev);
  assert.equal(report.processes, [], 'other processes that it can see');
  assert.equal(report.proc.sort(), ['self', 'thread-self']);
  assert.equal(report.signalled, [], 'other processes that it can signal');
  assert.equal(
    [...new Set(Object.values(report.forbidden))].sort(),
    ['EPERM'],
    JSON.stringify(report.forbidden),
  );
  assert.is(report.listening, 'EPERM EPERM');
  assert.is(report.shell, 'ENOENT');
  assert.equal(report.groups, []);
  assert.equal(
    report.capabilities.filter((line) => line.startsWith('Cap')).map((line) => line.split('\t')[1]),
    Array(5).fill('0'.repeat(16)),
  );
  assert.ok(report.capabilities.includes('NoNewPrivs:\t1'));
  assert.match(report.limits[0] ?? '', /^Max file size +16777216 +16777216 +bytes/);
  assert.match(report.limits[1] ?? '', /^Max core file size +0 +0 +bytes/);
  assert.equal(
    [...new Set(report.openFiles)],
    [`/run/wormhole/counters/${id}`],
    'files that systemd has opened for it',
  );
  assert.equal(report.figures, { written: 'ok', grown: 'EFBIG', larger: 'EFBIG', mode: 'EPERM' });
  assert.is((await host.run(`stat -c '%s %a %U' /run/wormhole/counters/${id}`)).stdout, '4096 644 root\n');
}

/** The environment of a service. Nothing in it is secret. */
const ENVIRONMENT = [
  ...[
    'FDSTORE',
    'INVOCATION_ID',
    'JOURNAL_STREAM',
    'LANG',
    'LD_LIBRARY_PATH',
    'LISTEN_FDNAMES',
    'LISTEN_FDS',
  ],
  ...['LISTEN_PID', 'LOGNAME', 'NOTIFY_SOCKET', 'PATH', 'SYSTEMD_EXEC_PID', 'USER'],
];

labSuite<Site>(
  'hostile code in the place of a forwarder',
  async () => {
    const host = await installedHost({ name: 'prey' });
    const outside = await boot({ name: 'outside', docker: false });
    const listen = 'systemd-run --unit other socat TCP-LISTEN:6000,fork,reuseaddr EXEC:hostname';
    for (const one of [host, outside]) await one.run(listen);
    // Where clouds have the metadata of a machine.
    await outside.run('ip address add 169.254.169.254/32 dev eth0');
    await host.run(`ip route add 169.254.169.254/32 via ${outside.address}`);
    await host.run('echo secret >/srv/readable; mkdir -p /run/wormhole/links/other');
    await host.run('docker run -d --network none --name db wormhole/tools sleep infinity');
    await host.run('systemd-run --unit abstract socat ABSTRACT-LISTEN:hostile,fork EXEC:hostname');
    return { host, outside };
  },
  (test, at) => {
    test('of a link from this host into a container', async () => {
      const site = at();
      const { host, outside } = site;
      const recipe = 'url :7001 tail url :7000 docker-ns db';
      const report = await attack(site, {
        id: 'db',
        recipe,
        port: 7001,
        target: '127.0.0.1:7000',
        container: 'db',
      });
      await isConfined(host, 'db', report);
      assert.equal(
        report.absent,
        [...POWERFUL, ...FILES].filter((path) => !SOCKETS.includes(path)),
        'paths that do not exist for it',
      );
      // What it writes to the journal passes for nobody else's where that counts.
      assert.is(report.forged, 'ok');
      await host.run('journalctl --sync');
      const journal = async (match: string) =>
        (await host.run(`journalctl -q -o json --no-pager ${match}`)).stdout
          .trim()
          .split('\n')
          .filter(Boolean);
      const [forged, ...others] = (await journal('MESSAGE=forged')).map((line) => JSON.parse(line));
      assert.equal(others, []);
      assert.is(forged._SYSTEMD_UNIT, 'wormhole-db.service');
      assert.match(String(forged._UID), /^[1-9]/);
      for (const unit of ['other', 'wormhole-other.service'])
        assert.not.ok(
          (await journal(`-u ${unit}`)).some((line) => line.includes('forged')),
          unit,
        );
      assert.equal(
        reachable(report),
        SOCKETS.map((path) => `${path} datagram`),
        'unix sockets that it can reach',
      );
      assert.equal(report.abstract, {}, 'a container has its own abstract names');
      // Docker lets everybody in its containers ping; the filter holds for that too.
      assert.equal(report.families, ['unix', 'ipv4', 'icmp']);
      assert.equal(
        report.environment.filter((name) => !ENVIRONMENT.includes(name)),
        [],
      );
      // Its own sockets are in the container, and reach the loopback interface there.
      assert.equal(report.own, {
        '127.0.0.1:7000': 'ok',
        '127.0.0.1:6000': 'ECONNREFUSED',
        [`${host.address}:6000`]: 'ENETUNREACH',
        [`${outside.address}:6000`]: 'ENETUNREACH',
        [METADATA]: 'ENETUNREACH',
      });
      // A client's socket is on the host, where the head is. It can be turned into one to other services on 127.0.0.1, but keeps that
      // address as its own, with which the kernel lets nothing leave the host; the filter keeps it from the host's other addresses.
      assert.equal(report.recycled, {
        '127.0.0.1:7000': 'ECONNREFUSED',
        '127.0.0.1:6000': 'ok',
        [`${host.address}:6000`]: 'silence',
        [`${outside.address}:6000`]: 'EINVAL',
        [METADATA]: 'EINVAL',
      });
    });

    test('of a link between two ports of this host', async () => {
      const site = at();
      const { host, outside } = site;
      const report = await attack(site, {
        id: 'own',
        recipe: 'url :7011 tail url :7000',
        port: 7011,
        target: '127.0.0.1:7000',
      });
      await isConfined(host, 'own', report);
      assert.equal(
        reachable(report),
        SOCKETS.map((path) => `${path} datagram`),
      );
      // Abstract names belong to the network namespace, which is the host's: a file system cannot hide them.
      assert.is(report.abstract['@hostile'], 'stream');
      assert.equal(report.own, {
        '127.0.0.1:7000': 'ok',
        '127.0.0.1:6000': 'ok',
        [`${host.address}:6000`]: 'silence',
        [`${outside.address}:6000`]: 'silence',
        [METADATA]: 'silence',
      });
      assert.equal(
        Object.entries(report.datagrams)
          .filter(([, result]) => result === 'ok')
          .map(([address]) => address),
        ['127.0.0.1:7000', '127.0.0.1:6000'],
      );
    });

    test('of a head that is open to others, to a target on another machine', async () => {
      const site = at();
      const { host, outside } = site;
      const target = `${host.address}:7000`;
      const recipe = `url 0.0.0.0:7021 tail url ${target}`;
      const report = await attack(site, { id: 'open', recipe, port: 7021, target });
      await isConfined(host, 'open', report);
      // NAT and IPsec may carry it elsewhere, so the filter of its own sockets keeps it from this host's services only.
      assert.equal(report.own, {
        [target]: 'ok',
        '127.0.0.1:6000': 'silence',
        [`${host.address}:6000`]: 'ok',
        [`${outside.address}:6000`]: 'ok',
        [METADATA]: 'silence',
      });
      // Clients from everywhere are let in: their sockets can be turned to everywhere.
      assert.equal(report.recycled, {
        [target]: 'ok',
        '127.0.0.1:6000': 'ok',
        [`${host.address}:6000`]: 'ok',
        [`${outside.address}:6000`]: 'ok',
        [METADATA]: 'ok',
      });
    });

    test('of a link to another machine: it sees where its part is, and asks for it', async () => {
      const site = at();
      const { host } = site;
      const target = `${host.address}:7000`;
      const report = await attack(site, {
        id: 'away',
        recipe: 'url :7031 trigger remote outside tail',
        port: 7031,
        target,
      });
      await isConfined(host, 'away', report, [
        '/run/wormhole/links/away:/run/wormhole/link',
        '/run/wormhole-far.sock',
      ]);
      assert.equal(reachable(report), [
        ...SOCKETS.map((path) => `${path} datagram`),
        '/run/wormhole-far.sock stream',
      ]);
      assert.equal(report.families, ['unix', 'ipv4', 'ipv6']);
      assert.is(report.own['127.0.0.1:6000'], 'silence');
    });

    test('of a link that runs its container: it sees that its container cannot be started', async () => {
      const site = at();
      const { host } = site;
      const recipe = "url :7041 tail url :7000 docker-run 'wormhole/tools sleep infinity'";
      const report = await attack(site, {
        id: 'run',
        recipe,
        port: 7041,
        target: '127.0.0.1:7000',
        container: 'wormhole-run',
      });
      await isConfined(host, 'run', report, ['/run/wormhole/links/run:/run/wormhole/link']);
      assert.is(report.own['127.0.0.1:7000'], 'ok');
    });

    test('deleting the links leaves nothing', async () => {
      const { host } = at();
      for (const { id } of JSON.parse(await succeeds(host, 'list --json')))
        await wormhole(host, `delete ${id}`);
      await host.run('docker rm -f db; rm -r /run/wormhole/links/other; systemctl stop other abstract');
      // What another machine has of a link is told when that answers.
      await host.run(
        'systemctl stop wormhole-far.timer wormhole-far.service; rm -r /var/lib/wormhole/pending-deletions',
      );
      await leavesNothing(host);
    });
  },
);
