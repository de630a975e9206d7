import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { nextWords } from '../../src/recipe/next-words.ts';

/* What may come next in a recipe that is being typed. */

const after = (text: string) => nextWords(text.split(' ').filter((word) => word !== ''));
const keywords = (text: string) => after(text).keywords.join(' ');

test('keywords where they may stand', () => {
  assert.is(keywords(''), 'url docker-ns docker-run tail trigger chain remote tunnel udptunnel id idle');
  assert.is(
    keywords('url :80'),
    'url docker-ns docker-run tail trigger chain remote tunnel udptunnel id idle',
  );
  assert.is(keywords('url :80 tail url :1'), 'url docker-ns docker-run child chain id idle or weight unit');
  assert.is(
    keywords('url :80 tail url :1 or'),
    'url docker-ns docker-run tail trigger remote tunnel udptunnel or weight unit',
  );
  assert.is(keywords('url :80 tail url :1 or url :2'), 'url docker-ns docker-run or weight unit');
  assert.is(keywords('url :80 tail url :1 weight 2').includes('or'), true);
  assert.is(keywords('url udp://:80 tail url :1').includes('or'), false);
  assert.is(keywords('url unixgram:///a url unixgram:///b').includes('tail'), true);
});

test('arguments', () => {
  for (const [text, keyword] of [
    ['url', 'url'],
    ['url :1 remote', 'remote'],
    ['idle', 'idle'],
    ['url :1 tail url :2 weight', 'weight'],
    ['url :1 trigger docker-run', 'docker-run'],
    ['url :1 trigger unit', 'unit'],
  ] as const)
    assert.equal(after(text), { keywords: [], argumentOf: keyword });
  assert.is(after('url :1 docker-ns').argumentOf, 'docker-ns');
  assert.ok(after('url :1 docker-ns').keywords.includes('tail'));
});

test.run();
