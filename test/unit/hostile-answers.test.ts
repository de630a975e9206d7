import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkAnswer } from '../../src/api/check.ts';
import { Failure } from '../../src/api/failure.ts';
import {
  type LinkDetails,
  type ListedLink,
  linkDetails,
  listing,
  trafficReport,
} from '../../src/api/listing-schema.ts';
import { tunnelListing } from '../../src/api/tunnel-schema.ts';
import { describeDetails } from '../../src/cli/show-text.ts';
import { ratesBetween } from '../../src/cli/top-rates.ts';
import { describeRates } from '../../src/cli/top-text.ts';

/* What a machine that has the key can do with its answers to the ones that ask it for its links. */

const test = suite('hostile answers');

const NAMES = [
  ...['open', 'limit', 'served', 'unserved', 'denied', 'refused', 'timedOut', 'bytesFromClients'],
  ...['bytesFromTarget', 'resetsByClient', 'resetsByTarget', 'held', 'heldMs'],
];

const end = { url: '', place: 'this host' };
const link = (more: object = {}) => ({
  ...{ id: 'a', head: end, tail: end, state: 'listening', detail: '', recipe: '' },
  ...more,
});
const counters = (number: string) => `{${NAMES.map((name) => `"${name}":${number}`).join()}}`;
/** The JSON of a list whose figures are these. */
const listed = (number: string) =>
  `{"links":[${JSON.stringify(link()).replace(/}$/, `,"counters":${counters(number)}}`)}],"unreadable":[]}`;
const read = (number: string) => checkAnswer(listing, JSON.parse(listed(number)));

test('figures are numbers that can be printed, and of which rates can be made', () => {
  for (const number of ['0', '1', '0.5', '8.64e15', '-8.64e15', '4503599627370496']) {
    const [before, after] = [read('-8.64e15'), read(number)].map((one, at) => ({
      at,
      listings: [{ machine: 'm', listing: one }],
    })) as [Parameters<typeof ratesBetween>[0], Parameters<typeof ratesBetween>[1]];
    const lines = describeRates(ratesBetween(before, after), [
      'id',
      'sessions',
      'new',
      'in',
      'out',
      'errors',
    ]);
    assert.is(lines.length, 2);
    assert.not.match(lines.join(), /NaN|Infinity/);
    const details = { link: after.listings[0]?.listing.links[0] as ListedLink, family: [], units: [] };
    describeDetails({ ...details, namespaces: [], journal: [] } as LinkDetails);
  }
  // JSON has no infinite number, and JavaScript reads one that is too large as that.
  for (const number of ['1e999', '-1e999', '8.65e15', '1e300'])
    assert.throws(
      () => read(number),
      (error: Error) => error instanceof Failure && /"links\.0\.counters\./.test(error.message),
      number,
    );
});

test('every number of an answer has such bounds', () => {
  const infinite = (text: string) => JSON.parse(text.replaceAll('"?"', '1e999'));
  const day = { served: 1, unserved: 1, denied: 1, refused: 1, bytesFromClients: '?', bytesFromTarget: 1 };
  const traffic = { ...day, datagramsFromClients: 1, datagramsFromTarget: 1 };
  const unit = { name: 'a', load: 'loaded', active: 'active', sub: '', since: '?' };
  const details = { link: link(), family: [], units: [unit], namespaces: [], journal: [] };
  const none = { bytes: 1, packets: 1 };
  const tunnel = {
    ...{ id: 'a', peer: 'b', mode: 'esp', local: '', remote: '', address: '', peerAddress: '', state: 'up' },
    ...{ detail: '', keyAge: 1, lastRekey: null, received: none, sent: none },
  };
  assert.ok(checkAnswer(tunnelListing, { tunnels: [tunnel], unreadable: [] }));
  for (const [schema, answer] of [
    [trafficReport, { days: [{ day: '2026-11-26', links: [{ id: 'a', traffic }] }] }],
    [linkDetails, details],
    [linkDetails, { ...details, units: [], journal: [{ time: '?', source: '', priority: 6, text: '' }] }],
    [listing, { links: [link({ options: { rate: '?' } })], unreadable: [] }],
    [tunnelListing, { tunnels: [{ ...tunnel, keyAge: '?' }], unreadable: [] }],
    [tunnelListing, { tunnels: [{ ...tunnel, sent: { bytes: '?', packets: 1 } }], unreadable: [] }],
  ] as const)
    assert.throws(
      () => checkAnswer(schema, infinite(JSON.stringify(answer))),
      (error: Error) => error instanceof Failure,
      JSON.stringify(answer),
    );
});

test('links that are each other’s parents are drawn, and once', () => {
  const family = [
    link({ id: 'a' }),
    link({ id: 'a', parent: 'a' }),
    link({ id: 'b', parent: 'c' }),
    link({ id: 'c', parent: 'b' }),
  ] as ListedLink[];
  const text = describeDetails({
    ...{ link: family[0] as ListedLink, family, units: [], namespaces: [], journal: [] },
  });
  assert.is(text.split('\n\n')[0]?.match(/══▶/g)?.length, 2);
});

test.run();
