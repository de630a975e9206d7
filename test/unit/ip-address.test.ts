import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isUnicast, withoutZone } from '../../src/text/ip-address.ts';
import { escapeUnprintable, printable } from '../../src/text/printable.ts';
import { printableJson, quoted } from '../../src/text/quote.ts';

const addresses = suite('addresses');

addresses('what can be the address of one machine', () => {
  for (const one of ['10.0.0.1', '192.0.2.1', '100.64.0.1', 'fd00::1', '2001:db8::1', 'fe80::1'])
    assert.ok(isUnicast(one), one);
  for (const none of [
    ...['0.0.0.0', '0.1.2.3', '127.0.0.1', '127.0.0.53', '224.0.0.1', '239.255.255.250', '255.255.255.255'],
    ...['::', '::1', 'ff02::1', '::ffff:10.0.0.1', 'beta', ''],
  ])
    assert.not(isUnicast(none), none);
});

addresses('a zone is what one machine calls its interface', () => {
  assert.is(withoutZone('fe80::1%eth0'), 'fe80::1');
  assert.is(withoutZone('10.0.0.1'), '10.0.0.1');
});

const texts = suite('texts of others');
const EVIL = 'a\u001b[2J\u0000\u007f\u0085\u009b\u00ad\u200b\u202e\u2028\u2029\ufeff\u{e0001}\nb';

texts('what acts on a terminal is replaced, and all else stays', () => {
  assert.is(printable(EVIL), `a\ufffd[2J${'\ufffd'.repeat(12)}b`);
  assert.is(printable(EVIL, '\n').slice(-2), '\nb');
  const plain = 'wormhole: Zürich ☃ 漢字 🐛 "quoted" \\ \'x\'';
  assert.is(printable(plain), plain);
});

texts('in JSON it is escaped, so that the value stays the same', () => {
  for (const text of [quoted(EVIL), printableJson(EVIL), escapeUnprintable(JSON.stringify(EVIL))]) {
    assert.not.match(text, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    assert.is(JSON.parse(text), EVIL);
  }
  const value = { list: [EVIL, 1, null], [EVIL]: true };
  assert.equal(JSON.parse(printableJson(value)), value);
  assert.match(printableJson({ a: 1 }), /^\{\n {2}"a": 1\n\}$/);
});

addresses.run();
texts.run();
