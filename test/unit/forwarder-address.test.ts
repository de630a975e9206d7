import { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseAddress, readHost } from '../../src/forwarder/address.ts';
import { AF_INET, AF_INET6, pinned } from '../../src/forwarder/syscalls.ts';

/* Addresses as the forwarder reads them: like node:net, which it does not load. */

const room = pinned(16);

const odd = fc.string({ unit: fc.constantFrom(...'0129afgx:.%[] \0'), maxLength: 20 });

test('an address is what node:net takes for one, without a zone', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.ipV4Extended(), odd), (text) => {
      assert.is(readHost(AF_INET, text, room.address), isIPv4(text), text);
      assert.is(readHost(AF_INET6, text, room.address), isIPv6(text) && !text.includes('%'), text);
    }),
    { numRuns: 2000 },
  );
});

test('an address with a port is read into a sockaddr', () => {
  const { text, port, family, size } = parseAddress('[2001:db8::1]:65535');
  assert.equal(
    { text, port, family, size },
    { text: '[2001:db8::1]:65535', port: 65535, family: AF_INET6, size: 28 },
  );
  assert.is(parseAddress('127.0.0.1:1').family, AF_INET);
});

test('anything else is quoted in the error', () => {
  for (const text of [
    '',
    '127.0.0.1',
    '127.0.0.1:0',
    '127.0.0.1:65536',
    '127.0.0.1:x',
    '127.0.0.01:1',
    '127.0.0.1\0:1',
    '::1:80',
    '[127.0.0.1]:80',
    '[::1%lo]:80',
    '[::1]80',
    'beta:80',
    '127.0.0.1:80\n',
  ]) {
    assert.throws(
      () => parseAddress(text),
      ({ message }: Error) => message === `"${text}" is not an address like 127.0.0.1:3306 or [::1]:80`,
      text,
    );
  }
});

test.run();
