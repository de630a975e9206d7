import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { inOrder, isLoopback, isUnusable } from '../../src/names/addresses.ts';
import { lookUp } from '../../src/names/lookup.ts';
import { candidates, parseResolvConf } from '../../src/names/resolv-conf.ts';
import { describeChange, nextOf } from '../../src/names/serve.ts';
import type { KnownName } from '../../src/state/name-file.ts';
import { addressesInHosts } from '../../src/text/hosts.ts';

test('a resolv.conf as people and programs write it', () => {
  const text = `# comment
    nameserver 10.0.0.1 ; a comment
nameserver fd00::1
nameserver 10.0.0.2
nameserver 10.0.0.3
domain old.example
search a.example  b.example.
options edns0 ndots:2 trust-ad`;
  assert.equal(parseResolvConf(text), {
    servers: ['10.0.0.1', 'fd00::1', '10.0.0.2'],
    search: ['a.example', 'b.example.'],
    ndots: 2,
  });
  assert.equal(parseResolvConf(''), { servers: [], search: [], ndots: 1 });
});

test('names are completed as glibc does', () => {
  const search = ['a.example', 'b.example.', '.'];
  assert.equal(candidates('db', { servers: [], search, ndots: 1 }), ['db.a.example', 'db.b.example', 'db']);
  assert.equal(candidates('db.x', { servers: [], search, ndots: 1 }), [
    'db.x',
    'db.x.a.example',
    'db.x.b.example',
  ]);
  assert.equal(candidates('db.x', { servers: [], search, ndots: 5 }), [
    'db.x.a.example',
    'db.x.b.example',
    'db.x',
  ]);
  assert.equal(candidates('db.', { servers: [], search, ndots: 5 }), ['db']);
});

test('the lines of a hosts file', () => {
  const text = `127.0.0.1 localhost
10.0.0.1\tDB.example db # the database
fd00::0001 db
10.0.0.1 db
not-an-address db
#10.0.0.9 db`;
  assert.equal(addressesInHosts(text, 'db'), ['10.0.0.1', 'fd00::1']);
  assert.equal(addressesInHosts(text, 'Db.Example.'), ['10.0.0.1']);
  assert.equal(addressesInHosts(text, 'other'), []);
});

test('both families in turn, IPv6 first', () => {
  assert.equal(inOrder(['10.0.0.1', '10.0.0.2', '10.0.0.3', '::2', '::3']), [
    '::2',
    '10.0.0.1',
    '::3',
    '10.0.0.2',
    '10.0.0.3',
  ]);
  assert.equal(inOrder([]), []);
});

test('where DNS leads nobody, however it is written', () => {
  for (const address of ['127.0.0.1', '127.255.0.1', '::1', '0.0.0.0', '0.1.2.3', '::', '::ffff:127.0.0.1'])
    assert.ok(isLoopback(address), address);
  for (const address of [
    '169.254.169.254',
    'fe80::1',
    'febf::1',
    '224.0.0.1',
    'ff02::1',
    '255.255.255.255',
    '::ffff:169.254.169.254',
  ])
    assert.ok(isUnusable(address), address);
  for (const address of [
    '10.0.0.1',
    '192.168.1.1',
    '128.0.0.1',
    'fd00::1',
    '2001:db8::1',
    '169.253.1.1',
    '::ffff:10.0.0.1',
  ])
    assert.not.ok(isLoopback(address) || isUnusable(address), address);
});

test('the hosts file counts before DNS, and gives a loopback address only where the link was created for it', async () => {
  const question = {
    name: 'db',
    resolvConf: '',
    hosts: '127.0.1.1 db\n10.0.0.1 other\n',
    allowLoopback: true,
  };
  assert.equal(await lookUp(question), { addresses: ['127.0.1.1'], ttl: 10 });
  assert.equal(await lookUp({ ...question, name: 'other', allowLoopback: false }), {
    addresses: ['10.0.0.1'],
    ttl: 10,
  });
  const refused = await lookUp({ ...question, allowLoopback: false });
  assert.match(
    'problem' in refused ? refused.problem : '',
    /^db is 127\.0\.1\.1 \(\/etc\/hosts\), where a name leads nobody/,
  );
});

test('without a server there is no answer, and a server that does not answer is named', async () => {
  const question = { name: 'db.example', resolvConf: 'search x\n', hosts: '', allowLoopback: false };
  assert.equal(await lookUp(question), {
    problem: 'db.example is not in hosts, and resolv.conf names no DNS server',
    isAnswer: false,
  });
  // Nothing listens there.
  assert.equal(await lookUp({ ...question, resolvConf: 'nameserver 127.9.9.9\n' }), {
    problem: 'db.example cannot be looked up: no DNS server answers (asked 127.9.9.9)',
    isAnswer: false,
  });
});

const at = { name: 'db', port: 5432, now: 1000 };
const known: KnownName = { name: 'db:5432', addresses: ['10.0.0.1:5432'], until: 0 };

test('addresses stay while no server can be asked, and go when one says that there are none', () => {
  assert.equal(nextOf({ addresses: ['::1', '10.0.0.1'], ttl: 7 }, undefined, at), {
    name: 'db:5432',
    addresses: ['[::1]:5432', '10.0.0.1:5432'],
    until: 8000,
  });
  const away = nextOf({ problem: 'away', isAnswer: false }, known, at);
  assert.equal(away, { ...known, until: 6000, problem: 'away' });
  assert.equal(nextOf({ problem: 'gone', isAnswer: true }, known, at), {
    name: 'db:5432',
    addresses: [],
    until: 2000,
    problem: 'gone',
  });
});

test('the journal has a line for each change, and none for what stays or rotates', () => {
  const rotated = { ...known, addresses: ['10.0.0.2:5432', '10.0.0.1:5432'] };
  assert.is(describeChange('db', known, rotated), undefined);
  assert.is(describeChange('db', undefined, known), undefined);
  assert.is(describeChange('db', known, { ...known, addresses: ['10.0.0.3:5432'] }), 'db is 10.0.0.3:5432.');
  const problem = { ...known, problem: 'db is away' };
  assert.match(
    describeChange('db', known, problem) ?? '',
    /^db is away\. The last known addresses, 10\.0\.0\.1:5432, stay in use/,
  );
  assert.is(describeChange('db', problem, problem), undefined);
  assert.is(describeChange('db', problem, known), 'db is 10.0.0.1:5432.');
  const none = { ...known, addresses: [], problem: 'db does not exist' };
  assert.match(
    describeChange('db', known, none) ?? '',
    /^db does not exist\. Clients wait for 5 s, and are closed then/,
  );
});

test.run();
