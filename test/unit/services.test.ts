import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asLink } from '../../src/recipe/as-link.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import { isServiceName, machinesOf, withMachines, withOpenServices } from '../../src/recipe/services.ts';
import { recipeFromText, recipeText, storedRecipeText } from '../../src/recipe/text.ts';
import { parseEtcdConfig } from '../../src/registry/etcd/config.ts';
import { base64, machinesOfRange, machineText } from '../../src/registry/etcd/machines.ts';
import { askRegistries, listedNames, lookUpService, NoMachine } from '../../src/registry/look-up.ts';
import { parseMachinesFile } from '../../src/registry/machines-file.ts';
import { note } from '../../src/registry/problems.ts';
import { isSrvName, lookUpSrv, machinesOfRecords, SrvFault } from '../../src/registry/srv.ts';

const test = suite('services');

const parse = (text: string) => parseRecipe(text.split(' '));
const head = 'url tcp://127.0.0.1:5432';

const record = (name: string, priority = 0, weight = 0) => ({ name, priority, weight, port: 5432 });

test('SRV records name the machines of the lowest priority, in an order of their own', () => {
  const records = [record('C.example.', 1, 5), record('b.example', 1), record('a.example', 1, 65_535)];
  assert.equal(machinesOfRecords([...records, record('spare', 2)], '_pg._tcp.x'), [
    { host: 'a.example', weight: 256 },
    { host: 'b.example' },
    { host: 'c.example', weight: 5 },
  ]);
  assert.equal(machinesOfRecords([record('.')], '_pg._tcp.x'), []);
  assert.equal(machinesOfRecords([], '_pg._tcp.x'), []);
  for (const name of ['a b', 'a;b', '-a', 'a\nb', '\u001b[31m', 'service:db'])
    assert.throws(() => machinesOfRecords([record(name)], '_pg._tcp.x'), /names .*, which is not a machine$/);
});

test('a machine with several SRV records has their weights together, in whatever order they come', () => {
  const records = [record('b', 0, 3), record('a', 0, 0), record('B.', 0, 4), record('a', 0, 0)];
  const machines = [
    { host: 'a', weight: 2 },
    { host: 'b', weight: 7 },
  ];
  assert.equal(machinesOfRecords(records, '_pg._tcp.x'), machines);
  assert.equal(machinesOfRecords(records.reverse(), '_pg._tcp.x'), machines);
});

test('keys in etcd name machines, and what is no machine or says something else is passed over', () => {
  const prefix = '/wormhole/machines/';
  const key = (host: string, value: string) => ({ key: base64(`${prefix}${host}`), value: base64(value) });
  const kvs = [
    key('10.0.0.2', machineText(['web', 'db'])),
    key('10.0.0.1', machineText(['db'])),
    key('10.0.0.3', machineText(['web'])),
    key('a b', machineText(['db'])),
    key('', machineText(['db'])),
    key('10.0.0.4', 'null'),
    key('10.0.0.5', '{"services":"db"}'),
    key('10.0.0.6', '{'),
  ];
  assert.equal(machinesOfRange({ kvs }, { prefix, name: 'db' }), [
    { host: '10.0.0.1' },
    { host: '10.0.0.2' },
  ]);
});

test('the settings of etcd are read, and faults are named', () => {
  const files: Record<string, string> = { '/ca': 'CA', '/password': 'secret\n' };
  const parse = (...lines: string[]) =>
    parseEtcdConfig(['[Etcd]', ...lines, ''].join('\n'), (path) => files[path] ?? '');
  const config = parse(
    'Endpoints=https://a:2379  https://[fd00::1]:2379',
    'CertificateAuthority=/ca',
    'User=w',
    'PasswordFile=/password',
  );
  assert.equal(
    config.endpoints.map(({ href }) => href),
    ['https://a:2379/', 'https://[fd00::1]:2379/'],
  );
  assert.equal(
    [config.ca?.toString(), config.login, config.prefix],
    ['CA', { name: 'w', password: 'secret' }, '/wormhole/machines/'],
  );
  for (const [lines, message] of [
    [[], /^Endpoints= is missing$/],
    [['Endpoints='], /has no address/],
    [['Endpoints=10.0.0.1:2379'], /is not an address such as/],
    [['Endpoints=https://u:p@a'], /is not an address such as/],
    [['Endpoints=https://a/v3'], /is not an address such as/],
    [['Endpoints=http://a', 'User=w', 'PasswordFile=/password'], /not sent in clear text/],
    [['Endpoints=https://a', 'User=w'], /belong together/],
    [['Endpoints=https://a', 'Key=/k'], /belong together/],
    [['Endpoints=https://a', 'Prefix=/x'], /does not end in a slash/],
    [['Endpoints=https://a', 'Endpoint=b'], /Endpoint=b is not a setting of \[Etcd\]/],
  ] as [string[], RegExp][])
    assert.throws(() => parse(...lines), message);
  assert.throws(() => parseEtcdConfig('[Other]\n', () => ''), /no section \[Etcd\]/);
});

test('each setting of etcd is read from where it says, and secrets as such', () => {
  const read: [string, boolean][] = [];
  const parse = (...lines: string[]) =>
    parseEtcdConfig(['[Etcd]', 'Endpoints= https://a', ...lines, ''].join('\n'), (path, isSecret) => {
      read.push([path, isSecret]);
      return `text of ${path}\r\nmore\r\n`;
    });
  const { endpoints, ...plain } = parse();
  assert.equal([plain, read, endpoints.length], [{ prefix: '/wormhole/machines/' }, [], 1]);
  const config = parse(
    ...['CertificateAuthority=/ca', 'Certificate=/cert', 'Key=/key', 'User=u', 'PasswordFile=/pw'],
    ...['Prefix=/p/', 'Address=10.0.0.1'],
  );
  assert.equal(
    [config.ca, config.certificate, config.key].map(String),
    ['/ca', '/cert', '/key'].map((path) => `text of ${path}\r\nmore\r\n`),
  );
  assert.equal(config.login, { name: 'u', password: 'text of /pw\r\nmore' });
  assert.equal([config.prefix, config.address], ['/p/', '10.0.0.1']);
  assert.equal(read.sort(), [
    ['/ca', false],
    ['/cert', false],
    ['/key', true],
    ['/pw', true],
  ] as typeof read);
  assert.throws(() => parse('Endpoints=https://a http://b', 'User=u', 'PasswordFile=/pw'), /clear text/);
  assert.throws(() => parse('Certificate=/cert'), /belong together/);
  assert.throws(() => parse('PasswordFile=/pw'), /belong together/);
});

test('DNS that has no record, and DNS that does not answer, are told apart', async () => {
  const failing = (code: string) => ({
    resolveSrv: async () => {
      throw Object.assign(new Error('query'), { code });
    },
  });
  for (const [code, message] of [
    ['ENOTFOUND', 'service "_a._tcp.x" is unknown: DNS has no SRV record of that name'],
    ['ENODATA', 'service "_a._tcp.x" is unknown: DNS has no SRV record of that name'],
    ['ETIMEOUT', 'the SRV records of service "_a._tcp.x" cannot be looked up: ETIMEOUT'],
  ] as const)
    await lookUpSrv('_a._tcp.x', failing(code)).then(
      () => assert.unreachable(),
      (error) => {
        assert.instance(error, SrvFault);
        assert.is(error.message, message);
      },
    );
  const found = await lookUpSrv('_a._tcp.x', { resolveSrv: async () => [record('b'), record('')] });
  assert.equal(found, [{ host: 'b' }]);
});

const directory = mkdtempSync(join(tmpdir(), 'wormhole-services-'));
test.after(() => rmSync(directory, { recursive: true }));

test('the machines of a service are those of its file; without any, those that were known stay', async () => {
  const ask = (name: string) => askRegistries(name, directory);
  writeFileSync(join(directory, 'db'), 'a\n');
  writeFileSync(join(directory, 'none'), '# later\n');
  writeFileSync(join(directory, 'wrong'), 'a b\n');
  const hosts = (count: number) => Array.from({ length: count }, (_, n) => `m${n}\n`).join('');
  writeFileSync(join(directory, 'large'), hosts(256));
  writeFileSync(join(directory, 'flood'), hosts(257));
  assert.is((await lookUpService('large', [], ask)).machines.length, 256);
  assert.equal(await lookUpService('db', [], ask), {
    machines: [{ host: 'a' }],
    source: join(directory, 'db'),
  });
  const known = [{ host: 'k' }];
  for (const [name, problem] of [
    ['none', `${directory}/none names no machine of service "none"`],
    ['flood', `${directory}/flood names 257 machines of service "flood", of which a link has 256 at most`],
    ['wrong', `${directory}/wrong:1: "a b" is not a machine; expected HOST or HOST weight N`],
  ] as const) {
    assert.equal(await lookUpService(name, known, ask), { machines: known, source: 'the link', problem });
    await lookUpService(name, [], ask).then(
      () => assert.unreachable(),
      (error) => {
        assert.instance(error, NoMachine);
        assert.is(error.message, problem);
      },
    );
  }
});

test('someone who may write files of services cannot have another file read, or a look-up wait', async () => {
  const own = join(directory, 'own');
  mkdirSync(own);
  writeFileSync(join(directory, 'secret'), 'root:$y$j9T$hash:19000:0\n');
  symlinkSync(join(directory, 'secret'), join(own, 'link'));
  // As in a directory that root has given to others.
  chmodSync(own, 0o777);
  execFileSync('mkfifo', [join(own, 'fifo')]);
  mkdirSync(join(own, 'directory'));
  writeFileSync(join(own, 'large'), '# x\n'.repeat(300_000));
  const problemOf = (name: string) =>
    askRegistries(name, own).then(
      () => 'none',
      ({ message }: Error) => message,
    );
  assert.match(
    await problemOf('link'),
    /own\/link: it is a symbolic link, and what is in \S+own acts as root, and it (is writable by|belongs to)/,
  );
  assert.is(await problemOf('fifo'), `${own}/fifo: it is not a regular file`);
  assert.is(await problemOf('directory'), `${own}/directory: it is not a regular file`);
  assert.is(await problemOf('large'), `${own}/large: it is longer than 1 MiB`);
  // The administrator may use symbolic links.
  if (process.getuid?.() !== 0) return;
  const roots = mkdtempSync('/root/wormhole-services-');
  writeFileSync(join(roots, 'file'), 'a\n');
  symlinkSync('file', join(roots, 'link'));
  assert.equal((await askRegistries('link', roots)).machines, [{ host: 'a' }]);
  rmSync(roots, { recursive: true });
});

test('the services that have a file', () => {
  const files = join(directory, 'files');
  assert.equal(listedNames(files), []);
  mkdirSync(files);
  for (const name of ['db', '.db.swp', '_pg._tcp.x']) writeFileSync(join(files, name), '');
  assert.equal(listedNames(files).sort(), ['_pg._tcp.x', 'db']);
  assert.throws(() => listedNames(join(files, 'db')), /ENOTDIR/);
});

test('a problem is new once, and again when it has been another one or none', () => {
  const path = join(directory, 'run/problem');
  assert.not(note(path, undefined));
  assert.ok(note(path, 'x'));
  assert.is(readFileSync(path, 'utf8'), 'x');
  assert.not(note(path, 'x'));
  assert.ok(note(path, 'y'));
  assert.not(note(path, undefined));
  assert.not(existsSync(path));
  assert.ok(note(path, 'y'));
});

test('a name of SRV records has a service, a protocol and a domain', () => {
  for (const name of ['_pg._tcp.example.com', '_a-b._udp.x']) assert.ok(isSrvName(name), name);
  for (const name of [
    'db',
    'db.example.com',
    '_pg',
    '_pg._tcp',
    '_pg.example.com',
    '_pg._tcp.',
    'x_pg._tcp.a',
  ])
    assert.not.ok(isSrvName(name), name);
});

test('a service stands for its machines, each with a part of its own', () => {
  const machines = [{ host: '10.0.0.1' }, { host: 'b.example', weight: 3 }];
  const recipe = withMachines(
    parse('id pg url :5432 remote service:db or url :1'),
    new Map([['db', machines]]),
  );
  const { tails = [] } = asLink(recipe);
  assert.equal(
    tails.map(({ id, weight, child }) => [id, weight, child?.peer, child?.service, child?.port]),
    [
      ['pg-to-10.0.0.1', undefined, '10.0.0.1', 'db', 5432],
      ['pg-to-b.example', 3, 'b.example', 'db', 5432],
      ['pg-to-127.0.0.1-1', undefined, undefined, undefined, undefined],
    ],
  );
  assert.equal(machinesOf(tails, 'db'), machines);
  assert.is(recipeText(recipe), `id pg ${head} remote service:db or url tcp://127.0.0.1:1`);
});

test('a unit has the machines, and gives them back', () => {
  const machines = [{ host: 'fd00::1', weight: 2 }, { host: 'b' }, { host: 'c', leaving: true as const }];
  for (const kind of ['remote', 'tunnel', 'trigger udptunnel']) {
    const recipe = withMachines(
      parse(`url :5432 ${kind} service:_pg._tcp.x`),
      new Map([['_pg._tcp.x', machines]]),
    );
    const text = storedRecipeText(recipe);
    assert.is(text, `${head} ${kind} 'service:_pg._tcp.x@fd00::1*2,b,-c'`);
    assert.equal(recipeFromText(text), recipe);
    assert.equal(withOpenServices(asLink({ ...recipe, id: 'x' })), { ...withOpenServices(recipe), id: 'x' });
  }
});

test('one machine is a tail of several nevertheless: others may come', () => {
  const recipe = withMachines(parse('url :5432 remote service:db'), new Map([['db', [{ host: 'a' }]]]));
  assert.is(recipe.tails?.length, 1);
  assert.equal(recipeFromText(storedRecipeText(recipe)), recipe);
});

for (const [text, reason] of [
  ['url :1 remote service:', /word 4, "service:": the name of a service is letters/],
  ['url :1 remote service:../x', /the name of a service/],
  [
    'url :1 remote service:db tail url :2',
    /word 5, "tail": service:db is what its machines publish; only or can follow/,
  ],
  ['url :1 remote service:db weight 2', /word 5, "weight": service:db is what its machines publish/],
  ['url :1 remote service:db id x', /only or can follow/],
  ['url :1 remote service:db or tunnel service:db', /word 6, "tunnel": service:db is there already/],
  ['url udp://:1 remote service:db', /a udp head has one tail/],
  ['url :1 chain url :2 remote service:db', /only the link that is created can have several tails/],
  ['url :1 remote a remote service:db', /only the link that is created/],
  ['url :1 remote service:db@', /neither a host name nor an IP address/],
  ['url :1 remote service:db@a*300', /a weight is a whole number/],
  ['url :1 tail url :2 remote service:db', /describe it after remote service:db/],
] as const)
  test(`"${text}" is refused`, () => {
    assert.throws(() => parse(text), reason);
  });

test('names of services are those of files, and of DNS', () => {
  for (const name of ['db', '_pg._tcp.example.com', 'a-b.c', '0']) assert.ok(isServiceName(name), name);
  for (const name of ['', '.', '..', '.db', '-db', 'a/b', 'a b', 'a@b', 'x'.repeat(201)])
    assert.not(isServiceName(name), name);
});

test('a file has a machine a line, and comments', () => {
  const text = '# databases\n\n one\ntwo   weight 3 # new\n [fd00::1]\t weight 1\r\nfour weight 256\n';
  assert.equal(parseMachinesFile(text, '/x'), [
    { host: 'one' },
    { host: 'two', weight: 3 },
    { host: 'fd00::1' },
    { host: 'four', weight: 256 },
  ]);
});

for (const [text, reason] of [
  ['one\nt_wo', '/x:2: "t_wo" is neither a host name nor an IP address'],
  ['one two', '/x:1: "one two" is not a machine; expected HOST or HOST weight N'],
  ['one weight 2 3', '/x:1: "one weight 2 3" is not a machine; expected HOST or HOST weight N'],
  ['one weight', '/x:1: weight "" is not a whole number from 1 to 256'],
  ['one weight 257', '/x:1: weight "257" is not a whole number from 1 to 256'],
  ['one\n\n#\none', '/x:4: "one" is there already'],
  ['one weight x1', '/x:1: weight "x1" is not a whole number from 1 to 256'],
  ['one weight 1x', '/x:1: weight "1x" is not a whole number from 1 to 256'],
  ['one weight 0', '/x:1: weight "0" is not a whole number from 1 to 256'],
  ['  one two  ', '/x:1: "one two" is not a machine; expected HOST or HOST weight N'],
  ['10.0.0.1:9999', '/x:1: "10.0.0.1:9999" is neither a host name nor an IP address'],
] as const)
  test(`a file with ${JSON.stringify(text)} is refused by the number of the line`, () => {
    assert.throws(
      () => parseMachinesFile(text, '/x'),
      ({ message }: Error) => message === reason,
    );
  });

test.run();
