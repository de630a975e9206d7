import { suite, test } from 'uvu';
import * as assert from 'uvu/assert';
import * as v from 'valibot';
import {
  endpointText,
  InvalidEndpoint,
  LOCAL,
  parseEndpoint,
  parsePeerEndpoint,
  peerName,
  READ_ONLY,
} from '../../src/api/endpoint.ts';
import { Failure, isFailureCode } from '../../src/api/failure.ts';
import { checkCreateBody, checkLinkId, checkPartBody, createdPart } from '../../src/api/schema.ts';
import { failureOf } from '../../src/daemon/error-response.ts';
import { checkOptions, DEFAULT_IDLE } from '../../src/daemon/options.ts';
import { Taken } from '../../src/links/complete.ts';
import { RecipeError } from '../../src/recipe/error.ts';
import { unmapIPv4 } from '../../src/text/ip-address.ts';
import { DEFAULT_SETTINGS, WrongOption } from '../../src/tunnels/settings.ts';

for (const [text, canonical] of [
  ['tcp://myserver:9999', 'tcp://myserver:9999'],
  ['tcp://myserver', 'tcp://myserver:9999'],
  ['tcp://10.0.0.2:1', 'tcp://10.0.0.2:1'],
  ['tcp://[FD00::0:1]:80', 'tcp://[fd00::1]:80'],
  ['tcp://fd00::1', 'tcp://[fd00::1]:9999'],
  ['tcp://a:65535', 'tcp://a:65535'],
  ['unix:///run/wormhole.sock', 'unix:///run/wormhole.sock'],
  [`unix:///${'x'.repeat(106)}`, `unix:///${'x'.repeat(106)}`],
] as const) {
  test(`-H ${text}`, () => assert.is(endpointText(parseEndpoint(text)), canonical));
}

for (const text of [
  ...['', 'myserver', 'tcp://', 'tcp://:9999', 'tcp://a:0', 'tcp://a:65536', 'tcp://a:b', 'tcp://a b'],
  ...[
    'tcp://a/',
    'http://a',
    'unix://',
    'unix:///',
    'unix://relative',
    'unix:///a/',
    'tcp://10.1',
    'TCP://a',
    'xtcp://a',
    'xunix:///a',
    'tcp://a\nb',
  ],
  `unix:///${'x'.repeat(107)}`,
]) {
  test(`-H "${text}" is no address`, () => {
    assert.throws(
      () => parseEndpoint(text),
      (error: Error) => error instanceof InvalidEndpoint && error.message.includes(`"${text}"`),
    );
  });
}

for (const [text, canonical] of [
  ['myserver', 'tcp://myserver:9999'],
  ['myserver:1234', 'tcp://myserver:1234'],
  ['10.0.0.2', 'tcp://10.0.0.2:9999'],
  ['fd00::1', 'tcp://[fd00::1]:9999'],
  ['[fd00::1]:80', 'tcp://[fd00::1]:80'],
  ['[fd00::1]', 'tcp://[fd00::1]:9999'],
  ['unix:///x', 'unix:///x'],
] as const) {
  test(`ping ${text}`, () => assert.is(endpointText(parsePeerEndpoint(text)), canonical));
}

for (const text of ['', ':9999', 'a:', 'a:99999', '-x', 'ftp://a']) {
  test(`ping "${text}" is refused`, () =>
    assert.throws(() => parsePeerEndpoint(text), /is not a(n address| machine) such as/));
}

test('the sockets of wormholed, and machines by name', () => {
  assert.is(endpointText(LOCAL), 'unix:///run/wormhole.sock');
  assert.is(endpointText(READ_ONLY), 'unix:///run/wormholed-read/socket');
  const name = (host: string, port: number) => peerName({ kind: 'tcp', host, port });
  assert.is(name('MyServer', 9999), 'myserver');
  assert.is(name('fd00::1', 9998), '[fd00::1]:9998');
});

test('the codes of failures are those that there are', () => {
  for (const code of ['usage', 'not-found', 'taken', 'busy', 'failed']) assert.ok(isFailureCode(code));
  for (const other of ['toString', 'Usage', '', 1, undefined, ['usage']])
    assert.not.ok(isFailureCode(other), `${other}`);
});

test('IPv4 callers of an IPv6 socket are told as IPv4', () => {
  assert.is(unmapIPv4('::ffff:10.0.0.2'), '10.0.0.2');
  assert.is(unmapIPv4('fd00::ffff:1'), 'fd00::ffff:1');
});

const refused = (body: unknown, expected: RegExp) =>
  assert.throws(
    () => checkCreateBody(body),
    (error: Failure) => error.code === 'usage' && error.status === 400 && expected.test(error.message),
  );

test('options about PROXY headers', () => {
  const options = { proxyProtocol: 'v1', acceptProxyProtocol: ['10.0.0.0/8', '::1', '192.0.2.1/32'] };
  assert.equal(checkCreateBody({ recipe: [], options }).options, options);
  refused({ recipe: [], options: { proxyProtocol: 'v3' } }, /"options.proxyProtocol" must be one of v1, v2/);
  refused({ recipe: [], options: { proxyProtocol: true } }, /"options.proxyProtocol" must be one of v1, v2/);
  for (const wrong of [
    '10.0.0.0/8',
    [],
    [1],
    [''],
    ['10.0.0.0/33'],
    ['::/129'],
    ['fe80::1%lo'],
    ['10.0.0.0/8,::1'],
    ['10.0.0.0/08'],
  ])
    refused(
      { recipe: [], options: { acceptProxyProtocol: wrong } },
      /"options.acceptProxyProtocol" must be an array of networks/,
    );
  // A part has the clients of the machine that asks for it.
  const part = {
    recipe: [],
    options,
    connection: { local: '10.0.0.1', remote: '10.0.0.2' },
    owner: { id: 'a', machine: 'b' },
  };
  assert.throws(() => checkPartBody(part), /"options" has a field "proxyProtocol", which is unknown here/);
});

test('create requests that are right', () => {
  assert.equal(checkCreateBody({ recipe: ['a'] }), { recipe: ['a'] });
  const full = { recipe: [], options: { dryRun: true, startTimeout: 5, pull: 'always' } };
  assert.equal(checkCreateBody(full), full);
  assert.equal(checkCreateBody({ recipe: ['a'], options: {} }).options, {});
});

test('create requests that are wrong name the field', () => {
  for (const body of [null, [], 'a', 1]) refused(body, /^the body must be a JSON object$/);
  for (const recipe of [undefined, 'url :80', [1], {}, [null]])
    refused({ recipe }, /^"recipe" must be an array of strings/);
  refused({ recipe: [], extra: 1 }, /^the body has a field "extra", which is unknown here$/);
  refused({ recipe: [], options: [] }, /^"options" must be a JSON object$/);
  refused({ recipe: [], options: { force: true } }, /^"options" has a field "force"/);
  refused({ recipe: [], options: { dryRun: 'yes' } }, /^"options.dryRun" must be true or false$/);
  for (const startTimeout of [0, -1, 1.5, '5', null, 1e9])
    refused(
      { recipe: [], options: { startTimeout } },
      /^"options.startTimeout" must be whole seconds from 1 to/,
    );
  for (const pull of ['sometimes', 1, null])
    refused({ recipe: [], options: { pull } }, /^"options.pull" must be one of never/);
  refused(JSON.parse('{"recipe": [], "__proto__": {}}'), /field "__proto__"/);
});

test('ids that could be paths are refused', () => {
  for (const id of ['80', 'web', '80-3306-db', 'a'.repeat(250)]) assert.is(checkLinkId(id), id);
  for (const id of ['', '../../passwd', 'a/b', '-a', '.a', 'a b', 'a\n', 'a'.repeat(251)])
    assert.throws(() => checkLinkId(id), /cannot be the id of a link/);
});

test('errors become failures with a code, and keep their message', () => {
  const codes = [new RecipeError('a'), new Taken('a'), new Error('a'), 'a', new Failure('busy', 'a')].map(
    failureOf,
  );
  assert.equal(
    codes.map(({ code, status, message }) => `${code} ${status} ${message}`),
    ['usage 400 a', 'taken 409 a', 'failed 500 a', 'failed 500 a', 'busy 503 a'],
  );
  assert.is(failureOf(new Error('one\n  two')).message, 'one / two');
});

const words = {
  key: DEFAULT_SETTINGS.keyFile,
  overlay: DEFAULT_SETTINGS.overlay,
  ports: DEFAULT_SETTINGS.udpPorts,
  idle: DEFAULT_IDLE,
};
const options = suite('options of wormholed');

options('the defaults', () => {
  assert.equal(checkOptions(words), {
    keyFile: '/etc/wormhole/key.secret',
    endpoints: [],
    overlay: '100.64.0.0/14',
    udpPorts: { first: 4500, last: 4599 },
    idle: 60,
  });
});

options('what can be said', () => {
  const said = checkOptions({
    ...words,
    host: ['unix:///x', 'tcp://127.0.0.1'],
    internal: '10.0.0.1',
    external: 'FD00::1',
    overlay: '10.1.0.0/16',
    ports: '4500',
    idle: '1',
  });
  assert.is(said.endpoints.length, 2);
  assert.is(said.internal, '10.0.0.1');
  assert.is(said.external, 'fd00::1');
  assert.equal(said.udpPorts, { first: 4500, last: 4500 });
});

for (const [wrong, expected] of [
  [{ internal: 'eth0' }, /^-I "eth0" is not an IP address$/],
  [{ external: '10.0.0' }, /^-E "10.0.0"/],
  [{ overlay: '10.0.0.0' }, /^-C "10.0.0.0"/],
  [{ overlay: '10.0.0.0/30' }, /^-C/],
  [{ overlay: '300.0.0.0/8' }, /^-C/],
  [{ ports: '4599-4500' }, /^-P "4599-4500"/],
  [{ ports: '0-1' }, /^-P/],
  [{ ports: '1-65536' }, /^-P/],
  [{ idle: '0' }, /^--idle "0"/],
  [{ idle: 'soon' }, /^--idle/],
] as const) {
  options(`refuses ${JSON.stringify(wrong)}`, () => {
    assert.throws(
      () => checkOptions({ ...words, ...wrong }),
      (error: Error) => error instanceof WrongOption && expected.test(error.message),
    );
  });
}

test('the reason of another machine is cut to what a journal line can hold', () => {
  const part = { id: 'near-1', url: 'tcp://10.0.0.2:61234' };
  assert.equal(v.parse(createdPart, part), part);
  assert.equal(v.parse(createdPart, { ...part, failing: 'it refuses' }), { ...part, failing: 'it refuses' });
  assert.is(v.parse(createdPart, { ...part, failing: 'x'.repeat(60_000) }).failing, 'x'.repeat(512));
});

test.run();
options.run();
