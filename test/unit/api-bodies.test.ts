import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as v from 'valibot';
import { checkAnswer } from '../../src/api/check.ts';
import { Failure } from '../../src/api/failure.ts';
import { listing } from '../../src/api/listing-schema.ts';
import {
  checkCreateBody,
  checkDeleteBody,
  checkPartBody,
  checkPartId,
  createdLink,
  deletedLink,
  errorBody,
  pong,
  preview,
  programVersion,
} from '../../src/api/schema.ts';
import {
  checkAcceptance,
  checkPeerStatus,
  checkProposal,
  checkSettlement,
  checkTunnelId,
  toWire,
  tunnelListing,
} from '../../src/api/tunnel-schema.ts';

/* What another program may send, field by field: of a right body each field is left out, and replaced by what it must not be. */

const test = suite('bodies of the API');

type Path = (string | number)[];

/** A copy of a body with another value at a path; without the field when it is undefined. */
function changed(body: unknown, [first, ...rest]: Path, value: unknown): unknown {
  const copy = structuredClone(body) as Record<string | number, unknown>;
  if (first === undefined) return value;
  if (rest.length > 0) copy[first] = changed(copy[first], rest, value);
  else if (value === undefined) delete copy[first];
  else copy[first] = value;
  return copy;
}

/** Makes sure that a check refuses each of these values at a path, and names the field. */
function refuses(check: (body: unknown) => unknown, body: unknown, wrong: [Path, unknown[], RegExp][]): void {
  assert.not.throws(() => check(body), 'the body itself is right');
  for (const [path, values, expected] of wrong)
    for (const value of values)
      assert.throws(
        () => check(changed(body, path, value)),
        (error: unknown) =>
          error instanceof Failure && expected.test(error.message) && !error.message.includes('\n'),
        `${path.join('.')}: ${JSON.stringify(value)}`,
      );
}

const PART = '0'.repeat(32);
const part = {
  recipe: ['tail', 'docker-ns', 'x'],
  owner: { id: '80', machine: 'alpha' },
  connection: { local: '10.0.0.1', remote: '10.0.0.2', external: 'fd00::1' },
  exactNames: true,
  options: { startTimeout: 5, udpTimeout: 1, socketMode: '0660', socketOwner: 'me:us', group: 'us' },
};

const NOT_SECONDS = [0, -1, 1.5, 365 * 24 * 3600 + 1, '5', null, Number.NaN];
const NOT_NAMES = ['', '-a', 'a/b', 'a b', 'a'.repeat(251), 1, null, '../x', 'a\n'];
const NOT_ADDRESSES = ['', 'host', '10.0.0', '[::1]', '10.0.0.1:80', 'fe80::1%eth0', 1, null];

test('a part of a link', () => {
  assert.equal(checkPartBody(part), part);
  const inTunnel = { recipe: [], owner: part.owner, tunnel: '0'.repeat(16) };
  assert.equal(checkPartBody(inTunnel), inTunnel);
  assert.is(
    checkPartBody(changed(part, ['connection', 'external'], 'FD00:0::1')).connection?.external,
    'fd00::1',
  );
  refuses(checkPartBody, part, [
    [[], [null, [], 'x', 1], /^the body must be a JSON object$/],
    [
      ['recipe'],
      [undefined, 'x', [1], {}],
      /^"recipe" (must be an array of strings, the words of the recipe|is missing)$/,
    ],
    [['owner'], [undefined], /^"owner" is missing$/],
    [['owner', 'id'], [undefined, ...NOT_NAMES], /^"owner.id" (must be a name|is missing)/],
    [['owner', 'machine'], NOT_NAMES, /^"owner.machine" must be a name$/],
    [['owner', 'more'], [1], /^"owner" has a field "more", which is unknown here$/],
    [['connection', 'local'], NOT_ADDRESSES, /^"connection.local" must be an IP address$/],
    [['connection', 'remote'], NOT_ADDRESSES, /^"connection.remote" must be an IP address$/],
    [['connection', 'external'], NOT_ADDRESSES, /^"connection.external" must be an IP address$/],
    [['connection', 'more'], [1], /^"connection" has a field "more"/],
    [['connection'], [undefined], /^either "tunnel" or "connection" must be there, and not both$/],
    [['tunnel'], ['0'.repeat(16)], /^either "tunnel" or "connection" must be there, and not both$/],
    [
      ['tunnel'],
      ['0'.repeat(15), '0'.repeat(17), 'G'.repeat(16), 1],
      /^"tunnel" must be the id of a tunnel, 16/,
    ],
    [['exactNames'], ['yes', 1, null], /^"exactNames" must be true or false$/],
    [['options', 'dryRun'], [true], /^"options" has a field "dryRun"/],
    ...['maxConnections', 'maxPerSource', 'rate', 'idleTimeout', 'keepAlive', 'workers'].map(
      (limit): [Path, unknown[], RegExp] => [
        ['options', limit],
        [1],
        new RegExp(`^"options" has a field "${limit}", which is unknown here$`),
      ],
    ),
    [['options', 'proxyProtocol'], ['v2'], /^"options" has a field "proxyProtocol"/],
    [['options', 'acceptProxyProtocol'], [['::1']], /^"options" has a field "acceptProxyProtocol"/],
    [
      ['options', 'startTimeout'],
      NOT_SECONDS,
      /^"options.startTimeout" must be whole seconds from 1 to 31536000$/,
    ],
    [['options', 'udpTimeout'], NOT_SECONDS, /^"options.udpTimeout" must be whole seconds/],
    [
      ['options', 'socketMode'],
      ['66', '1660', '0888', '06600', 'rwx', '660 ', 660],
      /^"options.socketMode" must be three octal digits, such as "660"$/,
    ],
    [
      ['options', 'socketOwner'],
      ['', ':', 'a:', ':b:c', 'a b', '-a', 'a:-b', 'a\n', 1],
      /^"options.socketOwner" must be USER, USER:GROUP or :GROUP$/,
    ],
    [
      ['options', 'group'],
      ['', '-a', 'a:b', 'a b', 'a\n', 1],
      /^"options.group" must be the name of a group$/,
    ],
    [['options', 'pull'], ['', 'often', 1], /^"options.pull" must be one of never, missing, always$/],
    [['__more'], [1], /^the body has a field "__more"/],
  ]);
  for (const socketOwner of ['a', ':b', 'a:b', '_a.b-c:d'])
    assert.is(
      checkPartBody(changed(part, ['options', 'socketOwner'], socketOwner)).options?.socketOwner,
      socketOwner,
    );
  for (const startTimeout of [1, 365 * 24 * 3600])
    checkPartBody(changed(part, ['options', 'startTimeout'], startTimeout));
});

test('the id of a part', () => {
  assert.is(checkPartId(PART), PART);
  for (const id of ['', PART.slice(1), `${PART}0`, 'A'.repeat(32), `${PART}\n`, '../'.padEnd(32, '0')])
    assert.throws(() => checkPartId(id), /is not 32 hexadecimal digits$/);
});

test('a deletion', () => {
  for (const body of [{}, { volumes: true }, { keep: true }, { volumes: false, keep: true }])
    assert.equal(checkDeleteBody(body), body);
  refuses(checkDeleteBody, {}, [
    [['volumes'], ['yes', 1, null], /^"volumes" must be true or false$/],
    [['keep'], ['yes', 0], /^"keep" must be true or false$/],
    [['more'], [1], /^the body has a field "more"/],
    [[], [{ volumes: true, keep: true }], /^"volumes" and "keep" contradict each other: /],
  ]);
});

test('a field of the name of an inherited one is a field like any other', () => {
  for (const check of [checkCreateBody, checkDeleteBody, checkPartBody, checkProposal, checkSettlement])
    for (const name of ['__proto__', 'constructor', 'toString'])
      assert.throws(
        () => check(JSON.parse(`{"${name}": {}}`)),
        (error: unknown) => error instanceof Failure && error.code === 'usage',
        name,
      );
});

const TUNNEL = '0123456789abcdef';
const pair = { local: '100.64.0.2', remote: '100.64.0.3' };
const incoming = { spi: 256, key: 'ab'.repeat(36) };
const proposal = { mode: 'udp', asked: true, keep: false, candidates: [pair], incoming, udpPort: 4500 };
const NOT_SPIS = [255, 0, -1, 2 ** 32, 1.5, '256', null];
/* What would be another command of ip(8), or an argument of it, is no key. */
const NOT_KEYS = [
  '',
  'ab'.repeat(35),
  'ab'.repeat(37),
  'AB'.repeat(36),
  `${'ab'.repeat(36)}\n`,
  'g'.repeat(72),
  1,
  null,
];
const NOT_INNER = ['', '100.64.0', '100.64.0.256', 'fd00::1', '100.64.0.2/32', 'x', 1, null];
const NOT_PORTS = [0, -1, 65_536, 1.5, '4500', null];

test('the id of a tunnel', () => {
  assert.is(checkTunnelId(TUNNEL), TUNNEL);
  for (const id of ['', TUNNEL.slice(1), `${TUNNEL}0`, TUNNEL.toUpperCase(), `${TUNNEL}\n`])
    assert.throws(() => checkTunnelId(id), /^the id must be the id of a tunnel, 16 hexadecimal digits$/);
});

test('a proposal', () => {
  const checked = checkProposal({ ...proposal, external: 'FD00:0::1' });
  assert.equal(checked, {
    ...{ ...proposal, external: 'fd00::1' },
    incoming: { spi: 256, key: Buffer.alloc(36, 0xab) },
  });
  for (const spi of [256, 2 ** 32 - 1]) checkProposal(changed(proposal, ['incoming', 'spi'], spi));
  for (const udpPort of [1, 65_535]) checkProposal(changed(proposal, ['udpPort'], udpPort));
  checkProposal(changed(proposal, ['candidates'], Array(64).fill(pair)));
  const esp: Record<string, unknown> = { ...proposal, mode: 'esp' };
  delete esp.udpPort;
  checkProposal(esp);
  refuses(checkProposal, proposal, [
    [[], [null, [], 'x'], /^the body must be a JSON object$/],
    [['mode'], [undefined, 'ah', 'ESP', 1], /^"mode" (must be esp or udp|is missing)/],
    [['mode'], ['esp'], /^"udpPort" must be there in UDP, and must be missing otherwise$/],
    [['udpPort'], [undefined], /^"udpPort" must be there in UDP, and must be missing otherwise$/],
    [['udpPort'], NOT_PORTS, /^"udpPort" must be a port$/],
    [['asked'], ['yes', 1, null], /^"asked" must be true or false$/],
    [['keep'], ['no', 0, null], /^"keep" must be true or false$/],
    [
      ['candidates'],
      [[], Array(65).fill(pair), 'x', {}, null],
      /^"candidates" must be an array of 1 to 64 pairs of addresses$/,
    ],
    [['candidates', 0, 'local'], NOT_INNER, /^"candidates.0.local" must be an IPv4 address$/],
    [['candidates', 0, 'remote'], NOT_INNER, /^"candidates.0.remote" must be an IPv4 address$/],
    [['candidates', 0, 'more'], [1], /^"candidates.0" has a field "more"/],
    [['incoming'], [undefined], /^"incoming" is missing$/],
    [['incoming', 'spi'], NOT_SPIS, /^"incoming.spi" must be an SPI, a whole number from 256 to 4294967295$/],
    [['incoming', 'key'], NOT_KEYS, /^"incoming.key" must be 36 bytes in hexadecimal$/],
    [['incoming', 'more'], [1], /^"incoming" has a field "more"/],
    [['external'], NOT_ADDRESSES, /^"external" must be an IP address$/],
    [['more'], [1], /^the body has a field "more"/],
  ]);
});

test('no message about a proposal has its key', () => {
  const key = `${'5e'.repeat(35)}xx`;
  assert.throws(
    () => checkProposal(changed(proposal, ['incoming', 'key'], key)),
    (error: Error) => !error.message.includes('5e5e'),
  );
});

test('a settlement', () => {
  assert.equal(checkSettlement({ spi: 300 }), { spi: 300 });
  refuses(checkSettlement, { spi: 300 }, [
    [['spi'], [undefined, ...NOT_SPIS], /^"spi" (must be an SPI|is missing)/],
    [['more'], [1], /^the body has a field "more"/],
  ]);
});

test('an acceptance is an answer: what is wrong with it is the other machine’s fault', () => {
  const acceptance = { inner: pair, incoming, udpPort: 4500 };
  const checked = checkAcceptance(acceptance, 'udp');
  assert.equal(checked.incoming.key, Buffer.alloc(36, 0xab));
  const inUdp = (body: unknown) => checkAcceptance(body, 'udp');
  refuses(inUdp, acceptance, [
    [['udpPort'], [undefined], /^the answer makes no sense: "udpPort" must be there in UDP/],
    [['udpPort'], NOT_PORTS, /^the answer makes no sense: "udpPort" must be a port$/],
    [['inner', 'local'], NOT_INNER, /^the answer makes no sense: "inner.local" must be an IPv4 address$/],
    [['incoming', 'key'], NOT_KEYS, /^the answer makes no sense: "incoming.key" must be 36 bytes/],
    [[], [null, [], 1], /^the answer makes no sense: it must be a JSON object$/],
  ]);
  assert.throws(
    () => checkAcceptance(acceptance, 'esp'),
    /"udpPort" must be there in UDP, and must be missing/,
  );
  assert.throws(
    () => inUdp(null),
    (error: Failure) => error.code === 'failed',
  );
});

test('what goes over the wire is what was checked', () => {
  const value = { inner: pair, incoming: { spi: 256, key: Buffer.alloc(36, 0xab) }, udpPort: 4500 };
  assert.equal(toWire(value), { inner: pair, incoming, udpPort: 4500 });
  assert.equal(checkAcceptance(JSON.parse(JSON.stringify(toWire(value))), 'udp'), value);
});

test('the status of another machine', () => {
  const outer = { local: '10.0.0.1', remote: '10.0.0.2' };
  const status = {
    external: '192.0.2.1',
    tunnel: { id: TUNNEL, mode: 'esp', outer, inner: pair, in: [256], out: [257, 258] },
  };
  assert.equal(checkPeerStatus(status), status);
  assert.equal(checkPeerStatus({}), {});
  refuses(checkPeerStatus, status, [
    [['external'], NOT_ADDRESSES, /"external" must be an IP address$/],
    [['tunnel', 'id'], ['x', TUNNEL.slice(1)], /"tunnel.id" must be the id of a tunnel/],
    [['tunnel', 'mode'], ['ah'], /"tunnel.mode" must be esp or udp$/],
    [['tunnel', 'outer', 'local'], NOT_ADDRESSES, /"tunnel.outer.local" must be an IP address$/],
    [['tunnel', 'inner', 'remote'], NOT_INNER, /"tunnel.inner.remote" must be an IPv4 address$/],
    [['tunnel', 'in'], [256, ['x'], [255]], /"tunnel.in" must be an SPI/],
    [['tunnel', 'out'], [{}, [null]], /"tunnel.out" must be an SPI/],
    [['more'], [1], /it has a field "more"/],
  ]);
});

test('answers of a later version may have more fields, and none of an earlier one less', () => {
  const link = {
    ...{ id: 'a', head: { url: 'tcp://:1', place: 'this host' }, tail: { url: '', place: 'machine m' } },
    ...{ state: 'listening', detail: '', recipe: 'url :1 tail' },
  };
  const traffic = { bytes: 1, packets: 2 };
  const tunnel = {
    ...{ id: TUNNEL, peer: 'm', mode: 'esp', ...pair, address: '10.0.0.1', peerAddress: '10.0.0.2' },
    ...{ state: 'up', detail: '', keyAge: null, lastRekey: null, received: traffic, sent: traffic },
  };
  for (const [schema, answer, fields] of [
    [listing, { links: [link], unreadable: [{ id: 'b', reason: 'c' }] }, ['links', 'unreadable']],
    [
      tunnelListing,
      { tunnels: [tunnel], unreadable: [{ unit: 'b', reason: 'c' }] },
      ['tunnels', 'unreadable'],
    ],
    [preview, { files: [{ name: 'a', text: 'b' }] }, ['files']],
    [createdLink, { id: 'a', url: 'b', also: ['c'], left: ['d'] }, ['id', 'url']],
    [deletedLink, { left: ['a'] }, ['left']],
    [programVersion, { version: '1', api: 1 }, ['version', 'api']],
    [pong, { machine: 'a' }, ['machine']],
    [errorBody, { error: { code: 'a', message: 'b' } }, ['error']],
  ] as [v.GenericSchema, Record<string, unknown>, string[]][]) {
    assert.equal(checkAnswer(schema, { ...answer, more: 1 }), answer);
    for (const field of fields) {
      assert.throws(
        () => checkAnswer(schema, changed(answer, [field], undefined)),
        (error: Failure) =>
          error.code === 'failed' && error.message.startsWith('the answer makes no sense: '),
      );
      for (const value of [null, 7.5 as unknown, [7]].filter((one) => typeof one !== typeof answer[field]))
        assert.throws(() => checkAnswer(schema, changed(answer, [field], value)), /makes no sense/, field);
    }
  }
  for (const field of Object.keys(link))
    assert.not.ok(
      v.safeParse(listing, { links: [changed(link, [field], undefined)], unreadable: [] }).success,
      field,
    );
  for (const field of Object.keys(tunnel))
    assert.not.ok(
      v.safeParse(tunnelListing, { tunnels: [changed(tunnel, [field], undefined)], unreadable: [] }).success,
      field,
    );
  for (const state of [
    'listening',
    'connected',
    'sleeping',
    'waiting',
    'failing',
    'failed',
    'stopped',
    'leaving',
    'deleted',
  ])
    assert.ok(v.safeParse(listing, { links: [{ ...link, state }], unreadable: [] }).success, state);
  assert.not.ok(v.safeParse(listing, { links: [{ ...link, state: 'else' }], unreadable: [] }).success);
  for (const state of ['up', 'down', 'leaving'])
    assert.ok(v.safeParse(tunnelListing, { tunnels: [{ ...tunnel, state }], unreadable: [] }).success, state);
});

test.run();
