import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ListedLink } from '../../src/api/listing-schema.ts';
import { findReadRoute } from '../../src/daemon/read-routes.ts';
import { refusalOf } from '../../src/web/access.ts';
import { LOGIN_MS, readLogins } from '../../src/web/browser-logins.ts';
import { readHistory } from '../../src/web/history.ts';
import { withRates } from '../../src/web/overview.ts';
import { cookieOf, routeOf } from '../../src/web/route.ts';
import { createTokens, TOKEN_MS } from '../../src/web/tokens.ts';
import { context } from './api-daemon.ts';

const test = suite('web');

/** A clock that the test sets. */
function clock() {
  const time = { now: 1_000_000 };
  return { time, now: () => time.now };
}

test('a token works once, and not after two minutes', () => {
  const { time, now } = clock();
  const tokens = createTokens(now);
  assert.is(tokens.pending(), false);
  const token = tokens.issue();
  assert.match(token, /^[A-Za-z0-9_-]{43}$/);
  assert.is.not(token, tokens.issue());
  assert.is(tokens.redeem(`${token.slice(1)}A`), false);
  assert.is(tokens.redeem(''), false);
  assert.is(tokens.redeem(token), true);
  assert.is(tokens.redeem(token), false);
  const late = tokens.issue();
  time.now += TOKEN_MS;
  assert.is(tokens.redeem(late), false);
  assert.is(tokens.pending(), false);
});

test('the oldest token gives way to a seventeenth', () => {
  const tokens = createTokens(clock().now);
  const issued = Array.from({ length: 17 }, () => tokens.issue());
  assert.equal(
    issued.map((token) => tokens.redeem(token)),
    [false, ...Array(16).fill(true)],
  );
});

test('a session is open for its own cookie, twelve hours, and in the next process', () => {
  const { time, now } = clock();
  const logins = readLogins(now);
  const [one, other] = [logins.open(), logins.open()];
  assert.is(logins.isOpen(one.id, one.secret), true);
  assert.is(logins.isOpen(one.id, other.secret), false);
  assert.is(logins.isOpen(one.id, ''), false);
  assert.is(logins.isOpen('constructor', one.secret), false);
  const text = logins.save();
  for (const { secret } of [one, other]) assert.not.match(text, secret);
  const later = readLogins(now, text);
  assert.is(later.isOpen(one.id, one.secret), true);
  time.now += LOGIN_MS;
  assert.is(later.isOpen(one.id, one.secret), false);
  assert.is(later.save(), '[]');
  for (const bad of ['', '{}', '[{"id":"x"}]', 'null'])
    assert.is(readLogins(now, bad).isOpen(one.id, one.secret), false);
});

test('requests are for the page when they name a loopback host, are GET, and come from the page', () => {
  const status = (headers: Record<string, string>, method = 'GET') =>
    refusalOf(method, { host: '127.0.0.1:9997', ...headers })?.status;
  for (const host of ['127.0.0.1', 'localhost', 'LOCALHOST:80', '[::1]:9997', '127.0.0.1:8080'])
    assert.is(status({ host }), undefined, host);
  for (const host of [
    '',
    'evil',
    'localhost.evil',
    '127.0.0.1.evil',
    '127.0.0.1:',
    '127.0.0.1:x',
    '127.0.0.2',
    '::1',
  ])
    assert.is(status({ host }), 403, host);
  for (const method of ['HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', ''])
    assert.is(status({}, method), 405, method);
  for (const headers of [
    { origin: 'http://evil' },
    { origin: 'null' },
    { origin: 'https://127.0.0.1:9997' },
    { origin: 'http://127.0.0.1:9998' },
    { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' },
    { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-purpose': 'prefetch;prerender' },
    { purpose: 'prefetch' },
  ])
    assert.is(status(headers as Record<string, string>), 403, JSON.stringify(headers));
  for (const headers of [
    { origin: 'http://127.0.0.1:9997' },
    { 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' },
    { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' },
    // A link to the page, or the file that a desktop opens.
    { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' },
  ])
    assert.is(status(headers as Record<string, string>), undefined, JSON.stringify(headers));
  assert.is(status({ 'content-length': '0' }), 400);
  assert.is(status({ 'transfer-encoding': 'chunked' }), 400);
});

test('only known paths lead somewhere', () => {
  const [id, token] = ['a'.repeat(22), 'b'.repeat(43)];
  assert.equal(routeOf(`/?token=${token}`), { kind: 'enter', token });
  assert.equal(routeOf(`/${id}/`), { kind: 'file', session: id, name: 'index.html' });
  assert.equal(routeOf(`/${id}/page.js`), { kind: 'file', session: id, name: 'page.js' });
  assert.equal(routeOf(`/${id}/api/overview`), { kind: 'overview', session: id });
  assert.equal(routeOf(`/${id}/api/links/a.b-c_d`), { kind: 'link', session: id, id: 'a.b-c_d' });
  assert.equal(routeOf(`/${id}/api/history`), { kind: 'history', session: id });
  assert.equal(routeOf(`/${id}/api/history/3306`), { kind: 'history', session: id, id: '3306' });
  for (const url of [
    '',
    '/',
    '*',
    `/?token=${token}x`,
    `/?token=${token}&x`,
    `/${id}`,
    `/${id}x/`,
    `/${id}/?x`,
    `/${id}/#x`,
    `/${id}/x`,
    `/${id}/../x`,
    `/${id}/page.js/`,
    `/${id}/%2e%2e/x`,
    `/${id}/__proto__`,
    `/${id}/api/`,
    `/${id}/api/links/`,
    `/${id}/api/links/.a`,
    `/${id}/api/links/a/b`,
    `/${id}/api/links/${'a'.repeat(251)}`,
    `http://127.0.0.1/${id}/`,
  ])
    assert.is(routeOf(url), undefined, url);
});

test('our cookie is found among others', () => {
  const secret = 'c'.repeat(43);
  for (const header of [`wormhole=${secret}`, `a=b; wormhole=${secret}`, `a=b;wormhole=${secret}; c=d`])
    assert.is(cookieOf(header), secret, header);
  for (const header of [undefined, '', 'a=b', `xwormhole=${secret}`, `wormhole=${secret}x`, 'wormhole='])
    assert.is(cookieOf(header), '', header);
});

const link = (id: string, fromClients: number, fromTarget = 0, open = 1): ListedLink => ({
  ...{
    id,
    head: { url: '', place: '' },
    tail: { url: '', place: '' },
    state: 'connected',
    detail: '',
    recipe: '',
  },
  counters: {
    ...{ open, limit: 0, served: 0, unserved: 0, denied: 0, refused: 0, timedOut: 0, held: 0, heldMs: 0 },
    ...{ bytesFromClients: fromClients, bytesFromTarget: fromTarget, resetsByClient: 0, resetsByTarget: 0 },
  },
});

test('rates are what counters have moved by', () => {
  const before = { at: 1000, links: [link('a', 100), link('b', 500)] };
  const rates = (at: number, links: ListedLink[]) =>
    withRates(before, { at, links }).map((one) => one.rates?.fromClients);
  assert.equal(rates(3000, [link('a', 700), link('b', 500), link('new', 9)]), [300, 0, undefined]);
  assert.equal(rates(3000, [link('a', 50)]), [0], 'it was counted from zero again');
  assert.equal(rates(1000, [link('a', 700)]), [undefined]);
  assert.equal(withRates(undefined, before)[0]?.rates, undefined);
});

test('the hour has what flowed, also while nobody looked, and in the next process', () => {
  const hour = 3_600_000;
  const history = readHistory();
  history.record(hour, [link('a', 0)]);
  history.record(hour + 5_000, [link('a', 1_000)]);
  assert.equal(history.ratesOf('a', hour + 5_000), [], 'too early for another sample');
  history.record(hour + 10_000, [link('a', 50_000, 10_000, 3)]);
  assert.equal(history.ratesOf('a', hour + 10_000), [
    { from: hour, to: hour + 10_000, fromClients: 5_000, fromTargets: 1_000, open: 3 },
  ]);
  // Nobody looks for 20 minutes.
  const later = readHistory(history.save());
  later.record(hour + 1_210_000, [link('a', 1_250_000, 10_000)]);
  assert.equal(later.ratesOf('a', hour + 1_210_000).at(-1), {
    ...{ from: hour + 10_000, to: hour + 1_210_000, fromClients: 1_000, fromTargets: 0, open: 1 },
  });
  assert.equal(later.ratesOf('b', hour), []);
  // After two hours, that is over.
  later.record(3 * hour, [link('a', 1_250_000)]);
  assert.equal(
    later.ratesOf('a', 3 * hour).map(({ from, fromClients }) => [from, fromClients]),
    [[2 * hour, 0]],
  );
  for (const bad of ['', '[]', '{"a":1}', '{"a":[[1]]}']) assert.equal(readHistory(bad).totals(hour), []);
});

test('all links together flow as much as each of them', () => {
  const history = readHistory();
  history.record(20_000, [link('a', 0), link('b', 0)]);
  history.record(30_000, [link('a', 10_000), link('b', 0)]);
  history.record(40_000, [link('a', 10_000), link('b', 50_000), link('c', 7)]);
  history.record(50_000, [link('a', 10_000), link('b', 50_000), link('c', 10_007)]);
  assert.equal(
    history.totals(50_000).map(({ from, to, fromClients }) => [from, to, fromClients]),
    [
      [20_000, 30_000, 1_000],
      [30_000, 40_000, 5_000],
      [40_000, 50_000, 1_000],
    ],
  );
});

test('a link without traffic takes two samples', () => {
  const history = readHistory();
  for (let at = 1; at < 100; at++) history.record(at * 10_000, [link('a', 5)]);
  assert.is(JSON.parse(history.save()).a.length, 2);
  assert.is(history.ratesOf('a', 990_000).length, 1);
});

test('who may only look reaches no path that changes something', async () => {
  const { operations } = context;
  const refused = (method: string, url: string, status: number) =>
    assert.throws(
      () => findReadRoute({ method, url }, operations),
      (error: { status: number }) => error.status === status,
    );
  for (const url of ['/v1/links', '/v1/version', '/v1/traffic', '/v1/tunnels', '/v1/links/a']) {
    assert.is(findReadRoute({ method: 'GET', url }, operations).takesBody, false, url);
    for (const method of ['POST', 'PUT', 'DELETE', 'HEAD', 'PATCH', '']) refused(method, url, 405);
  }
  for (const url of [
    '/v1/session',
    '/v1/tunnels/shared',
    '/v1/parts/a',
    '/v1/links/a/stop',
    '/v1/ping',
    '/',
    '',
  ])
    for (const method of ['GET', 'POST', 'PUT', 'DELETE']) refused(method, url, 404);
});

test.run();
