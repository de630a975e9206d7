import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LabelledContainer } from '../../src/docker/labelled.ts';
import { formatRecipe } from '../../src/recipe/format.ts';
import { readDropIns, renderDropIns } from '../../src/units/declared-drop-ins.ts';
import { readLabel } from '../../src/units/label.ts';
import { readAllLabels } from '../../src/units/label-containers.ts';
import { allowsAddress, DEFAULT_POLICY, parseLabelPolicy } from '../../src/units/labels-config.ts';

/* What labels of containers ask for, and what they are refused. */

const policy = DEFAULT_POLICY;
const read = (key: string, value: string, container = 'app') => {
  const link = readLabel({ key, value }, { container, policy, resolve: (name) => name });
  return formatRecipe(link.recipe).join(' ');
};
const refuses = (value: string, reason: RegExp, kind = 'link') =>
  assert.throws(() => read(`wormhole.${kind}.x`, value), reason, value);

test('the head of a link is in the container, and the tail in one that it names', () => {
  assert.is(
    read('wormhole.link.db', 'url :3306 tail docker-ns mysql'),
    'id app.db url tcp://127.0.0.1:3306 docker-ns app tail url tcp://127.0.0.1:3306 docker-ns mysql',
  );
  assert.is(
    read('wormhole.link.x', 'url 0.0.0.0:80 tail url [::1]:8080 docker-ns a weight 2 or docker-ns b', 'tail'),
    'id tail.x url tcp://0.0.0.0:80 docker-ns /tail tail url tcp://[::1]:8080 docker-ns a weight 2 or url tcp://127.0.0.1:80 docker-ns b',
  );
  assert.is(
    read('wormhole.link.dns', 'url udp://:53 url tcp:// tail docker-ns /or'),
    'id app.dns url udp://127.0.0.1:53 url tcp://127.0.0.1:53 docker-ns app tail url 127.0.0.1:53 docker-ns /or',
  );
});

test('the tail of an expose is in the container, and its head on the host', () => {
  assert.is(
    read('wormhole.expose.web', 'url 0.0.0.0:8080'),
    'id app.web url tcp://0.0.0.0:8080 tail url tcp://127.0.0.1:8080 docker-ns app',
  );
  assert.is(
    read('wormhole.expose.web', 'url [::1]:8080 tail url :80'),
    'id app.web url tcp://[::1]:8080 tail url tcp://127.0.0.1:80 docker-ns app',
  );
});

test('a link leads to nothing but containers that it names', () => {
  refuses('url :80 tail url :81', /tail of a label is docker-ns/);
  refuses('url :80 tail docker-ns', /docker-ns needs the name of a container/);
  refuses('url :80 tail docker-ns a or url :81', /tail of a label is docker-ns/);
  refuses('url :80 tail docker-ns a or docker-ns', /docker-ns needs the name of a container/);
  refuses('url :80 docker-ns b tail docker-ns a', /leave out docker-ns before tail/);
  refuses('url :80 docker-ns tail docker-ns a', /leave out docker-ns before tail/);
  refuses('url blue@:80 tail docker-ns a', /"docker-ns": /);
  refuses('url :80 tail url blue@:80', /cannot name a network namespace/);
  refuses('url unix:///run/x.sock tail url tcp://:1 docker-ns a', /a path is one of this host/);
  refuses('url :80 tail url unix:///run/docker.sock', /tail of a label is docker-ns/);
  refuses('url :80 tail url unix:///run/docker.sock docker-ns a', /a path is one of this host/);
  refuses('url :80 tail url 10.0.0.1:80 docker-ns a', /may be anywhere in the networks/);
  refuses('url :80 tail url [::ffff:10.0.0.1]:80 docker-ns a', /may be anywhere in the networks/);
  refuses('url :80 tail url db.example.com:80 docker-ns a', /may be anywhere in the networks/);
  refuses('url :80 tail docker-ns app', /cannot proxy to self/);
});

test('words that act on more are refused, wherever they stand', () => {
  for (const words of [
    'trigger docker-run nginx',
    'tail docker-run "-v /:/host nginx"',
    'trigger docker-ns a',
    'remote box tail docker-ns a',
    'tunnel box tail docker-ns a',
    'udptunnel box tail docker-ns a',
    'tail docker-ns a child url :1 tail docker-ns b',
    'chain url :81 tail docker-ns b',
    'tail docker-ns a or remote box tail docker-ns b',
    'id other tail docker-ns a',
    'idle 1s tail docker-ns a',
  ])
    refuses(`url :80 ${words}`, /^a label cannot say "/);
  refuses('--mode 666 url :80 tail docker-ns a', /options go before/);
  refuses('url :80 tail docker-ns -a', /options go before/);
});

test('an expose is as its administrator permits', () => {
  const expose = (value: string, reason: RegExp) => refuses(value, reason, 'expose');
  expose('url 0.0.0.0:80', /port is not one of ExposePorts= of .*: 1024-65535$/);
  expose('url :8080 tail docker-ns db', /leave out docker-ns/);
  expose('url :8080 docker-ns db', /leave out docker-ns/);
  expose('url :8080 or url :1', /^"or": it begins another tail, and there is none yet/);
  expose('url :8080 tail url :1 or url :2', /there is one tail, which is in the container/);
  expose('url blue@:8080', /cannot name a network namespace/);
  expose('url unix:///run/x.sock tail url tcp://:1', /head is a port of this host/);
  expose('url unix://@x tail url tcp://:1', /head is a port of this host/);
  expose('url 0.0.0.0', /needs a port/);
  expose('url :8080 tail url 10.0.0.1:80', /may be anywhere/);
  const { addresses, ports } = parseLabelPolicy({
    path: 'f',
    text: '[Labels]\nExposeAddresses=127.0.0.0/8 fd00::/8\nExposePorts=80 8000-8010\nExposePorts=9000\n',
  });
  const strict = { addresses, ports };
  assert.ok(allowsAddress(strict, '127.3.0.1') && allowsAddress(strict, 'fd00::1'));
  for (const address of ['0.0.0.0', '::', '10.0.0.1', '::1'])
    assert.not(allowsAddress(strict, address), address);
  assert.ok(allowsAddress(DEFAULT_POLICY, '::') && allowsAddress(DEFAULT_POLICY, '0.0.0.0'));
  const under = (value: string) =>
    readLabel({ key: 'wormhole.expose.x', value }, { container: 'a', policy: strict, resolve: String });
  for (const port of [80, 8000, 8010, 9000]) assert.ok(under(`url :${port}`));
  for (const port of [79, 81, 7999, 8011]) assert.throws(() => under(`url :${port}`), /80 8000-8010 9000$/);
  assert.throws(() => under('url 0.0.0.0:80'), /address is not one of ExposeAddresses=/);
  assert.throws(() => under('url [::ffff:10.0.0.1]:80'), /address is not one of/);
});

test('the file of the administrator is refused as a whole, with the lines', () => {
  assert.equal(parseLabelPolicy({ path: 'f', text: '[Labels]\nExposePorts=\n' }).ports, []);
  assert.equal(parseLabelPolicy({ path: 'f', text: '' }), DEFAULT_POLICY);
  for (const [text, reason] of [
    ['[Labels]\nExposePorts=0\n', /f:2: .*expected a port/],
    ['[Labels]\nExposePorts=90-80\n', /f:2: .*expected a port/],
    ['[Labels]\nExposePorts=65536\n', /f:2: .*expected a port/],
    ['[Labels]\nExposeAddresses=web\n', /f:2: .*expected a network/],
    ['[Labels]\nExposePort=80\n', /f:2: "ExposePort" is not a setting/],
    ['[Label]\n', /f:1: the only section/],
    ['[Labels]\nconstructor=80\n', /f:2: "constructor" is not a setting/],
  ] as const)
    assert.throws(() => parseLabelPolicy({ path: 'f', text }), reason, text);
});

test('names of labels and ids', () => {
  assert.is(read('wormhole.link.a_b-1', 'url :1 tail docker-ns b', 'x.y').slice(0, 13), 'id x.y.a_b-1 ');
  for (const name of ['', '.', 'a.b', '../x', 'a b', '-a', 'a\nb', 'ä', 'x'.repeat(41)])
    assert.throws(
      () => read(`wormhole.link.${name}`, 'url :1 tail docker-ns b'),
      /the name .* is not 1 to 40/,
      name,
    );
  assert.throws(() => read('wormhole.link.service', 'url :1 tail docker-ns b'), /cannot end in "\.service"/);
  assert.throws(() => read('wormhole.link.x', 'url :1 tail docker-ns b', 'c'.repeat(99)), /1 to 100/);
  assert.throws(() => read('wormhole.lnk.x', 'url :1 tail docker-ns b'), /there is no such label/);
  assert.throws(() => read('wormhole.link', 'url :1 tail docker-ns b'), /there is no such label/);
  for (const value of [
    '',
    '   ',
    'url',
    'url :80',
    'tail docker-ns a',
    'url "',
    'url :1 tail docker-ns "a\\nb"',
    `url :1 tail docker-ns ${'a'.repeat(2000)}`,
  ])
    assert.throws(() => read('wormhole.link.x', value), undefined, value);
});

const container = (name: string, more: Partial<LabelledContainer> = {}): LabelledContainer => ({
  ...{ id: `id-${name}`, name, running: true, network: 'none' },
  ...{ labels: {}, imageLabels: {}, imageMissing: false },
  ...more,
});
const LINK = { 'wormhole.link.db': 'url :3306 tail docker-ns db' };
const tails = (containers: LabelledContainer[]) =>
  readAllLabels(containers, policy).links.map(({ id, recipe: { tail } }) => [id, tail?.place]);

test('a name means the service of the same project first', () => {
  const member = (service: string, project = 'shop') => ({
    'com.docker.compose.project': project,
    'com.docker.compose.service': service,
  });
  const app = container('shop-app-1', { labels: { ...LINK, ...member('app') } });
  const own = container('shop-db-1', { labels: member('db') });
  const foreign = container('blog-db-1', { labels: member('db', 'blog') });
  const named = container('db');
  const to = (name: string) => [['shop-app-1.db', { kind: 'container', name }]];
  assert.equal(tails([app, foreign, named, own]), to('shop-db-1'));
  assert.equal(tails([app, foreign, named]), to('db'));
  assert.equal(tails([app, foreign]), []);
  const once = container('run', { labels: { ...member('db'), 'com.docker.compose.oneoff': 'True' } });
  assert.equal(tails([app, own, once]), to('shop-db-1'));
  // One whose image says so is no member.
  const image = container('liar', { imageLabels: member('db') });
  assert.equal(tails([app, own, image]), to('shop-db-1'));
  const second = container('shop-db-2', { labels: member('db') });
  const read = readAllLabels([app, own, second], policy);
  assert.equal([read.links, read.undecided], [[], ['shop-app-1.db']]);
  assert.match(read.faults[0]?.message ?? '', /has 2 containers, "shop-db-1", "shop-db-2"/);
});

test('no container that is in the namespace of the host has an end of a link', () => {
  const app = container('app', { labels: LINK });
  for (const network of ['host', 'ns:/proc/1/ns/net']) {
    const through = [
      [app, container('db', { network })],
      [app, container('db', { network: 'container:id-x' }), container('x', { network })],
      [container('app', { labels: LINK, network }), container('db')],
      [container('app', { labels: { 'wormhole.expose.a': 'url :8080' }, network })],
    ];
    for (const containers of through) {
      const { links, faults, undecided } = readAllLabels(containers, policy);
      assert.equal([links, undecided], [[], []]);
      assert.match(faults[0]?.message ?? '', /is in the network namespace of this host/);
    }
  }
  assert.equal(tails([app, container('db', { network: 'container:id-x' }), container('x')]).length, 1);
  const circle = [
    container('db', { network: 'container:id-x' }),
    container('x', { network: 'container:id-db' }),
  ];
  assert.equal(tails([app, ...circle]), []);
});

test('labels of images, of containers that links run, and of those whose image is gone', () => {
  const db = container('db');
  const reasons = (one: LabelledContainer) =>
    readAllLabels([one, db], policy).faults.map(({ message }) => message);
  assert.match(reasons(container('app', { imageLabels: LINK })).join(), /labels of images do not count/);
  const run = { 'wormhole.run': 'a', 'wormhole.link': 'a', 'wormhole.role': 'container' };
  assert.equal(reasons(container('app', { labels: run })), []);
  assert.match(reasons(container('app', { labels: { ...run, ...LINK } })).join(), /that a link runs/);
  const orphan = readAllLabels([container('app', { labels: LINK, imageMissing: true }), db], policy);
  assert.equal([orphan.links, orphan.undecided, orphan.faults.length], [[], ['app.db'], 1]);
});

test('the labels of a container have 50 tails at most, however many one label has', () => {
  const label = (count: number) =>
    `url :9 ${Array.from({ length: count }, (_, n) => `tail url :${n + 1} docker-ns db`).join(' or ')}`;
  const labels = {
    'wormhole.link.a': label(25),
    'wormhole.link.b': label(25),
    'wormhole.link.c': 'url :1 tail docker-ns db',
    'wormhole.expose.d': 'url :8080',
  };
  const { links, faults } = readAllLabels([container('app', { labels }), container('db')], policy);
  // By name, as labels count.
  assert.equal(
    links.map(({ id, recipe }) => [id, recipe.tails?.length ?? 1]),
    [
      ['app.d', 1],
      ['app.a', 25],
      ['app.c', 1],
    ],
  );
  assert.equal(
    faults.map(({ label: name, message }) => [name, message]),
    [['wormhole.link.b', 'the labels of a container lead to 50 tails at most, with this one it would be 51']],
  );
});

test('a container has 20 labels at most, and what is told of a name has a bound', () => {
  const labels = Object.fromEntries(
    Array.from({ length: 30 }, (_, at) => [`wormhole.link.n${at + 10}`, `url :${at + 1} tail docker-ns db`]),
  );
  const { links, faults } = readAllLabels([container('app', { labels }), container('db')], policy);
  assert.equal([links.length, links.at(-1)?.id, faults.length], [20, 'app.n29', 1]);
  assert.match(faults[0]?.message ?? '', /first 20 labels .* it and 9 more do not/);
  const long = { [`wormhole.${'x'.repeat(100_000)}`]: '' };
  const [fault] = readAllLabels([container('app', { labels: long })], policy).faults;
  assert.ok(fault && fault.label.length < 100 && fault.message.length < 200);
});

test('units tell the label or the file that a link comes from', () => {
  const extra = { Unit: [], Socket: [], Service: ['Nice=1'] };
  const units = { socket: 'a.socket', service: 'a.service' };
  for (const content of [{ label: 'app wormhole.link.db', extra }, { file: '/etc/x', extra }, { extra }]) {
    const [socket, service] = renderDropIns(units, content).map(({ text }) => text);
    assert.equal(readDropIns({ socket, service }), content);
  }
});

test('two labels of one name refuse each other; the same name in two containers does not', () => {
  const both = { ...LINK, 'wormhole.expose.db': 'url :8080' };
  const { links, faults, undecided } = readAllLabels(
    [container('app', { labels: both }), container('db')],
    policy,
  );
  assert.equal([links, undecided, faults.length], [[], [], 2]);
  const two = [container('a', { labels: LINK }), container('b', { labels: LINK }), container('db')];
  assert.equal(
    tails(two).map(([id]) => id),
    ['a.db', 'b.db'],
  );
});

test('an address of a tail is one that each namespace has of its own, and none that looks like it', () => {
  for (const host of ['10.127.0.1', '10.0.0.0', '[fd00::1]', '[fd00::]', '[::2]', '[::1:0]', '[::127.0.0.1]'])
    refuses(
      `url :80 tail url ${host}:80 docker-ns a`,
      /may be anywhere in the networks|neither a host name|is not/,
    );
  for (const host of ['127.0.0.1', '127.9.9.9', '0.0.0.0', '[::1]', '[::]', '[::ffff:127.0.0.1]'])
    assert.match(read('wormhole.link.x', `url :80 tail url ${host}:80 docker-ns a`), /docker-ns a$/);
});

test('what the administrator allows: networks, addresses and wildcards', () => {
  const policyOf = (addresses: string) =>
    parseLabelPolicy({ path: 'f', text: `[Labels]\nExposeAddresses=\nExposeAddresses=${addresses}\n` });
  for (const [addresses, allowed, refused] of [
    ['10.0.0.0/8', ['10.1.2.3'], ['11.0.0.1', '0.0.0.0', '::', '::1']],
    ['10.0.0.1  \t fd00::1', ['10.0.0.1', 'fd00::1'], ['10.0.0.2', 'fd00::2', '0.0.0.0', '::']],
    ['fd00::/8', ['fd12::1'], ['fe80::1', '10.0.0.1', '::']],
    ['0.0.0.0/0', ['0.0.0.0', '1.2.3.4'], ['::', '::1']],
    ['::/0', ['::1'], ['0.0.0.0', '1.2.3.4', '::']],
    ['0.0.0.0/0 ::/0', ['0.0.0.0', '::', '::1', '1.2.3.4'], []],
  ] as [string, string[], string[]][]) {
    for (const address of allowed)
      assert.ok(allowsAddress(policyOf(addresses), address), `${address} in ${addresses}`);
    for (const address of refused)
      assert.not(allowsAddress(policyOf(addresses), address), `${address} in ${addresses}`);
  }
});

test('an expose that the policy does not permit is told what it permits', () => {
  const expose = (text: string, value: string) =>
    readLabel(
      { key: 'wormhole.expose.x', value },
      { container: 'app', policy: parseLabelPolicy({ path: 'f', text }), resolve: (name) => name },
    );
  const where = 'of /etc/wormhole/labels.conf';
  for (const [text, value, message] of [
    [
      '[Labels]\nExposeAddresses=\nExposeAddresses=10.0.0.1 10.0.0.2\n',
      'url 127.0.0.1:8080',
      `127.0.0.1:8080: the address is not one of ExposeAddresses= ${where}: 10.0.0.1 10.0.0.2`,
    ],
    [
      '[Labels]\nExposeAddresses=\n',
      'url 127.0.0.1:8080',
      `127.0.0.1:8080: the address is not one of ExposeAddresses= ${where}: none`,
    ],
    [
      '[Labels]\nExposePorts=\n',
      'url [::1]:8080',
      `[::1]:8080: the port is not one of ExposePorts= ${where}: none`,
    ],
    [
      '[Labels]\nExposePorts=80 8000-8999\n',
      'url [::1]:9000',
      `[::1]:9000: the port is not one of ExposePorts= ${where}: 80 8000-8999`,
    ],
  ] as const)
    assert.throws(
      () => expose(text, value),
      (error: Error) => {
        assert.is(error.message, message);
        return true;
      },
    );
  expose('[Labels]\nExposePorts=65535\n', 'url [::1]:65535');
  for (const [value, message] of [
    ['url unix:///run/x.sock tail url :80', /the head is a port of this host|a path is one of/],
    ['url :8080 tail url :80 or url :81', /there is one tail/],
  ] as const)
    assert.throws(() => expose('', value), message);
});

test('each fault of labels.conf has its line and its path', () => {
  const faults = (text: string) => {
    try {
      parseLabelPolicy({ path: 'f', text });
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  const port = 'expected a port or a range of ports, such as 8080 or 8000-8999';
  for (const [text, message] of [
    ['x\n', 'f:1: expected KEY=VALUE; a line that goes on in the next one ends with a backslash'],
    ['[Label]\n', 'f:1: the only section here is [Labels]'],
    ['[MX-]\n', 'f:1: the only section here is [Labels]'],
    ['[X-Mine]\nExposePorts=no\n', ''],
    [
      '[Labels]\n\nPorts=1\n',
      'f:3: "Ports" is not a setting of [Labels]; there are ExposeAddresses= ExposePorts=',
    ],
    ...['x80', '80x', '0', '80-', '8999-8000', '65536', '1-65536', '-1'].map((word) => [
      `[Labels]\nExposePorts=${word}\n`,
      `f:2: ExposePorts=: "${word}": ${port}`,
    ]),
  ] as string[][])
    assert.is(faults(text ?? ''), message, text);
});

test('a label is refused in words that make sense in it', () => {
  const message = (value: string, kind = 'link') => {
    try {
      return read(`wormhole.${kind}.x`, value);
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.is(message('url :3306'), 'the tail is missing, such as url :3306 tail docker-ns db');
  assert.is(message('url "'), 'the quote " is left open');
  assert.is(message(`url :80 ${' '.repeat(1000)}`), 'its value is longer than 1000 characters');
  assert.match(message(`url :80 tail docker-ns a${' '.repeat(1000 - 24)}`), /^id app\.x /);
  assert.is(
    message('url :80 trigger docker-ns a'),
    'a label cannot say "trigger"; the words for it are url, tail, docker-ns, or, weight',
  );
  for (const value of [
    'url oops tail docker-ns a',
    'url',
    'url :80 tail url',
    `${'url :80 '.repeat(12)}tail docker-ns a`,
  ])
    assert.not.match(message(value), /\bword \d/, value);
});

test.run();
