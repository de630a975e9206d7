import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { LinkDetails, ListedLink } from '../../src/api/listing-schema.ts';
import { describeDetails } from '../../src/cli/show-text.ts';
import { parseNotes } from '../../src/links/sessions.ts';
import { parseIPv6Addresses, parseLocalAddresses } from '../../src/links/show.ts';

const test = suite('show');

const end = (url: string, place = 'this host') => ({ url, place });
const listed = (id: string, more: Partial<ListedLink> = {}): ListedLink => ({
  id,
  head: end(`tcp://127.0.0.1:${id}`),
  tail: end('tcp://127.0.0.1:1'),
  state: 'listening',
  detail: '',
  recipe: `id ${id}`,
  ...more,
});
const details = (more: Partial<LinkDetails>): LinkDetails => ({
  link: listed('80'),
  family: [listed('80')],
  units: [],
  namespaces: [],
  journal: [],
  ...more,
});

test('the links of a recipe are a tree', () => {
  const family = [
    listed('80'),
    listed('81', { parent: '80' }),
    listed('82', { parent: '81' }),
    listed('83', { parent: '80', state: 'sleeping' }),
  ];
  const tree = describeDetails(details({ family, link: family[2] as ListedLink })).split('\n\n')[0];
  assert.is(
    tree,
    [
      '80  tcp://127.0.0.1:80 ══▶ tcp://127.0.0.1:1  listening',
      '├─ 81  tcp://127.0.0.1:81 ══▶ tcp://127.0.0.1:1  listening',
      '│  └─ 82  tcp://127.0.0.1:82 ══▶ tcp://127.0.0.1:1  listening *',
      '└─ 83  tcp://127.0.0.1:83 ══▶ tcp://127.0.0.1:1  sleeping',
    ].join('\n'),
  );
});

test('the tails of a link are below it, without the socket by which they take clients over', () => {
  const part = (id: string, more: Partial<ListedLink>) => listed(id, { parent: '80', tailOf: '80', ...more });
  const family = [
    listed('80', { tail: end('', '2 tails') }),
    part('80-to-web', { tail: end('tcp://127.0.0.1:80', 'container web'), drained: true }),
    part('80-to-beta', { tail: end('', 'machine beta'), unhealthy: true }),
  ];
  assert.is(
    describeDetails(details({ family })).split('\n\n')[0],
    [
      '80  tcp://127.0.0.1:80 ══▶ 2 tails  listening *',
      '├─ 80-to-web  ══▶ tcp://127.0.0.1:80 in container web  listening drained',
      '└─ 80-to-beta  ══▶ machine beta  listening not healthy',
    ].join('\n'),
  );
});

test('figures, connections and the journal are printed for people, without what acts on a terminal', () => {
  const now = new Date(2026, 10, 26, 12, 0).getTime();
  const text = describeDetails(
    details({
      link: listed('80', {
        counters: {
          ...{
            open: 1,
            limit: 9,
            served: 4,
            unserved: 2,
            denied: 1,
            refused: 3,
            timedOut: 0,
            resetsByClient: 1,
            resetsByTarget: 0,
          },
          ...{ bytesFromClients: 1500, bytesFromTarget: 0, held: 2, heldMs: 3000 },
          ...{ datagramsFromClients: 7, datagramsFromTarget: 8, dialMs: 10 },
          dials: [{ upToMs: 1, count: 3 }, { upToMs: 5, count: 0 }, { count: 1 }],
          lastFailure: { at: now - 3_600_000, reason: 'refused' },
        },
      }),
      rates: { served: 0.5, bytesFromClients: 2000, bytesFromTarget: 0 },
      sessions: [
        {
          ...{ client: 'a\u001b[2J', target: '', ageMs: 90_000, idleMs: 1200 },
          ...{ bytesFromClient: 1, bytesFromTarget: 2 },
        },
      ],
      journal: [{ time: now, source: 'x\n', priority: 6, text: '\u202eevil' }],
    }),
    now,
  );
  for (const line of [
    'sessions      1 open, 4 served, 0.5 new/s',
    'refused       2 not served, 1 not admitted, 3 over a limit',
    'from clients  1.5 kB, 2 kB/s',
    'datagrams     7 from clients, 8 from target',
    'connecting    2.5 ms on average: up to 1 ms 3, more than 5 ms 1',
    'held          2 clients, 1.5 s on average',
    'last failure  11:00 refused',
    'a\ufffd[2J   connecting  1 min  1.2 s   1 B          2 B',
    '12:00 x\ufffd: \ufffdevil',
  ])
    assert.ok(text.includes(`\n${line}\n`), `${line}\n---\n${text}`);
});

test('options are shown as they are typed, also those of another machine, and none is said if all are as by default', () => {
  const options = {
    maxConnections: 50,
    idleTimeout: 5400,
    socketOwner: 'a b',
    pull: 'else',
    proxyProtocol: 'v2',
  };
  const text = describeDetails(details({ link: listed('80', { options }) }));
  assert.ok(
    text.includes(
      "\noptions  --max-connections 50 --idle-timeout 1h30m --owner 'a b' --pull else --proxy-protocol=v2\n",
    ),
    text,
  );
  assert.not.match(describeDetails(details({})), /^options/m);
});

test('notes of a forwarder are read as far as they make sense', () => {
  const file = Buffer.alloc(4 * (64 + 4 * 32));
  file.writeInt32LE(0x54534857, 0);
  file.writeInt32LE(1, 4);
  const record = (n: number, { kind = 1, flags = 0, client = 5, target = 6 }) => {
    const at = 4 * (64 + 32 * n);
    for (const [word, value] of [
      [0, n + 1],
      [1, kind],
      [2, flags],
      [20, client + 1],
      [21, target + 1],
    ] as const)
      file.writeInt32LE(value, at + 4 * word);
    file.writeDoubleLE(1000 + n, at + 16);
  };
  record(0, {});
  record(1, { flags: 0x80 });
  record(2, { client: 7, target: -1 });
  assert.equal(parseNotes(file), [
    { opened: 1000, client: 5, target: 6 },
    { opened: 1002, client: 7, target: -1 },
  ]);
  assert.equal(parseNotes(file.subarray(0, 4 * (64 + 40))).length, 1);
  file.writeInt32LE(2, 4);
  assert.equal(parseNotes(file), []);
  assert.equal(parseNotes(Buffer.alloc(0)), []);
});

test('addresses are read from the tables of the kernel', () => {
  assert.equal(
    parseLocalAddresses(`Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 127.0.0.0
        /31 link UNIVERSE
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 172.17.0.2
        /32 host LOCAL
     |-- 172.17.255.255
        /32 link BROADCAST
Local:
     |-- 127.0.0.1
        /32 host LOCAL
`),
    ['127.0.0.1', '172.17.0.2'],
  );
  assert.equal(
    parseIPv6Addresses(
      '00000000000000000000000000000001 01 80 10 80       lo\nfe80000000000000004211fffe000002 02 40 20 80     eth0\n',
    ),
    ['::1', 'fe80::42:11ff:fe00:2'],
  );
});

test.run();
