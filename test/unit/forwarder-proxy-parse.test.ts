import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { addressText } from '../../src/forwarder/address.ts';
import { crc32c } from '../../src/forwarder/proxy-protocol/crc32c.ts';
import { createEndpoint, type Endpoints } from '../../src/forwarder/proxy-protocol/endpoints.ts';
import { formatHeader, formatUnixHeader } from '../../src/forwarder/proxy-protocol/format.ts';
import { isInNetworks, parseNetworks } from '../../src/forwarder/proxy-protocol/networks.ts';
import { LONGEST_HEADER, LONGEST_V1, parseHeader } from '../../src/forwarder/proxy-protocol/parse.ts';

/* The parser of PROXY headers, on bytes alone. */

const SIGNATURE = '0d0a0d0a000d0a515549540a';

function v4(text: string, port: number) {
  return createEndpoint(Uint8Array.from(text.split('.').map(Number)), port);
}

const v6Bytes = (last: number) => Uint8Array.of(0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), last);

const ipv4: Endpoints = { source: v4('203.0.113.7', 51000), destination: v4('192.0.2.1', 443) };
const ipv6: Endpoints = {
  source: createEndpoint(v6Bytes(1), 51000),
  destination: createEndpoint(v6Bytes(2), 443),
};

/** A header of version 2. */
function v2(command: number, family: number, payload: Buffer | string = ''): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload, 'hex') : payload;
  const size = Buffer.alloc(2);
  size.writeUInt16BE(bytes.length);
  return Buffer.concat([Buffer.from(SIGNATURE, 'hex'), Buffer.of(command, family), size, bytes]);
}

const ADDRESSES_V4 = 'cb007107c0000201c73801bb';

/** Headers that are right, with what they say. */
const right: [name: string, bytes: Buffer, says: string][] = [
  [
    'v1 TCP4',
    Buffer.from('PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n'),
    '203.0.113.7:51000 192.0.2.1:443',
  ],
  [
    'v1 TCP6',
    Buffer.from('PROXY TCP6 2001:db8::1 2001:db8::2 51000 443\r\n'),
    '[2001:db8::1]:51000 [2001:db8::2]:443',
  ],
  [
    'v1, the longest',
    Buffer.from(
      `PROXY TCP6 ${['ffff'].concat(Array(7).fill('ffff')).join(':')} ${Array(8).fill('ffff').join(':')} 65535 65535\r\n`,
    ),
    `[${Array(8).fill('ffff').join(':')}]:65535 [${Array(8).fill('ffff').join(':')}]:65535`,
  ],
  ['v1 UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), 'itself'],
  ['v1 UNKNOWN with the rest', Buffer.from('PROXY UNKNOWN ffff::1 any thing 0 0\r\n'), 'itself'],
  ['v2 TCP4', v2(0x21, 0x11, ADDRESSES_V4), '203.0.113.7:51000 192.0.2.1:443'],
  ['v2 TCP6', formatHeader('v2', ipv6), '[2001:db8::1]:51000 [2001:db8::2]:443'],
  ['v2 with TLVs', v2(0x21, 0x11, `${ADDRESSES_V4}01000268320400016e`), '203.0.113.7:51000 192.0.2.1:443'],
  ['v2 LOCAL', v2(0x20, 0x00), 'itself'],
  ['v2 LOCAL with a family and things', v2(0x20, 0xf7, 'ffffffff'), 'itself'],
  ['v2 UNSPEC', v2(0x21, 0x00, 'ffff'), 'itself'],
  ['v2 UDP4', v2(0x21, 0x12, ADDRESSES_V4), 'itself'],
  [
    'v2 unix',
    formatUnixHeader('v2', { source: Buffer.alloc(0), destination: Buffer.from('/run/x'), pid: 1, uid: 2 }),
    'itself',
  ],
  [
    'v2, the longest',
    v2(
      0x21,
      0x11,
      Buffer.concat([
        Buffer.from(`${ADDRESSES_V4}04${(4096 - 15).toString(16).padStart(4, '0')}`, 'hex'),
        Buffer.alloc(4096 - 15),
      ]),
    ),
    '203.0.113.7:51000 192.0.2.1:443',
  ],
];

function meaning(bytes: Buffer): string {
  const parsed = parseHeader(bytes);
  if (parsed.kind === 'incomplete') return 'incomplete';
  if (parsed.kind === 'malformed') return `malformed: ${parsed.reason}`;
  const { size, endpoints } = parsed;
  const says = endpoints
    ? `${addressText(endpoints.source)} ${addressText(endpoints.destination)}`
    : 'itself';
  return `${size}: ${says}`;
}

for (const [name, bytes, says] of right) {
  test(`${name}: every beginning is incomplete, the whole is right, and what follows is not looked at`, () => {
    for (let size = 0; size < bytes.length; size++)
      assert.is(meaning(bytes.subarray(0, size)), 'incomplete', `${size} of ${bytes.length} bytes`);
    assert.is(meaning(bytes), `${bytes.length}: ${says}`);
    for (const rest of ['G', '\r\n', 'PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n', SIGNATURE, '\0'.repeat(5000)])
      assert.is(meaning(Buffer.concat([bytes, Buffer.from(rest)])), `${bytes.length}: ${says}`);
  });
}

test('what is written is read again, of any addresses', () => {
  const port = fc.integer({ min: 0, max: 65535 });
  const endpoint = (size: number) =>
    fc
      .tuple(fc.uint8Array({ minLength: size, maxLength: size }), port)
      .map(([address, number]) => createEndpoint(address, number));
  const endpoints = fc.oneof(
    fc.record({ source: endpoint(4), destination: endpoint(4) }),
    fc.record({ source: endpoint(16), destination: endpoint(16) }),
    fc.record({ source: endpoint(4), destination: endpoint(16) }),
  );
  fc.assert(
    fc.property(endpoints, fc.constantFrom('v1' as const, 'v2' as const), (said, version) => {
      const bytes = formatHeader(version, said);
      assert.equal(parseHeader(bytes), { kind: 'complete', size: bytes.length, endpoints: { ...said } });
      assert.ok(version === 'v2' || bytes.length <= LONGEST_V1);
    }),
    { numRuns: 2000 },
  );
});

test('any bytes at all: the parser ends, takes no more than the longest header, and prints nothing odd', () => {
  const starts = [
    '',
    'PROXY ',
    'PROXY TCP4 ',
    'PROXY UNKNOWN',
    Buffer.from(SIGNATURE, 'hex').toString('latin1'),
  ];
  fc.assert(
    fc.property(fc.constantFrom(...starts), fc.uint8Array({ maxLength: 300 }), (start, more) => {
      const parsed = parseHeader(Buffer.concat([Buffer.from(start, 'latin1'), more]));
      if (parsed.kind === 'complete') assert.ok(parsed.size <= LONGEST_HEADER);
      if (parsed.kind === 'malformed') assert.match(parsed.reason, /^[ -~…]{1,120}$/);
    }),
    { numRuns: 5000 },
  );
  assert.is.not(parseHeader(Buffer.alloc(LONGEST_HEADER, 'PROXY ')).kind, 'incomplete');
  assert.is.not(parseHeader(Buffer.from(`PROXY UNKNOWN ${'x'.repeat(LONGEST_HEADER)}`)).kind, 'incomplete');
  assert.is.not(
    parseHeader(Buffer.concat([v2(0x21, 0x11, Buffer.alloc(4097)), Buffer.alloc(8)])).kind,
    'incomplete',
  );
});

const wrong: [bytes: Buffer | string, reason: RegExp][] = [
  ['GET / HTTP/1.1\r\n', /is missing: it begins with "GET \/ HTTP\/1\.1\.\."/],
  ['\x1b[31mred', /begins with "\.\[31mred"/],
  ['proxy TCP4', /is missing/],
  ['PROXY TCP4 1.2.3.4 5.6.7.8 1 2\nGET / HTTP/1.1\r\n', /of version 1 is wrong: "PROXY TCP4 1\.2\.3\.4/],
  ['PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n', /of version 1 is wrong/],
  ['PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n', /of version 1 is wrong/],
  ['PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n', /of version 1 is wrong/],
  ['PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n', /of version 1 is wrong/],
  ['PROXY TCP4 ::1 ::2 1 2\r\n', /of version 1 is wrong/],
  ['PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n', /of version 1 is wrong/],
  ['PROXY TCP6 fe80::1%lo ::2 1 2\r\n', /of version 1 is wrong/],
  ['PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n', /of version 1 is wrong/],
  ['PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n', /of version 1 is wrong/],
  ['PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n', /of version 1 is wrong/],
  ['PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n', /of version 1 is wrong/],
  ['PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n', /of version 1 is wrong/],
  ['PROXY UNKNOWNS\r\n', /of version 1 is wrong/],
  ['PROXY \r\n', /of version 1 is wrong/],
  [`PROXY UNKNOWN ${'x'.repeat(93)}`, /no end within 107 bytes/],
  ['\r\n\r\n\0\r\nQUIT\r', /is missing/],
  [v2(0x11, 0x11, ADDRESSES_V4), /version and command 0x11/],
  [v2(0x31, 0x11, ADDRESSES_V4), /version and command 0x31/],
  [v2(0x22, 0x11, ADDRESSES_V4), /version and command 0x22/],
  [v2(0x21, 0x41, ADDRESSES_V4), /address family 0x41/],
  [v2(0x21, 0x13, ADDRESSES_V4), /address family 0x13/],
  [v2(0x21, 0x11, 'cb007107c0000201c738'), /10 bytes where the addresses alone take 12/],
  [v2(0x21, 0x21, ADDRESSES_V4), /12 bytes where the addresses alone take 36/],
  [v2(0x21, 0x31, ADDRESSES_V4), /12 bytes where the addresses alone take 216/],
  [v2(0x21, 0x11, Buffer.alloc(4097)).subarray(0, 16), /says that 4097 bytes follow; 4096 are the most/],
  [v2(0x20, 0x00, Buffer.alloc(65535)).subarray(0, 16), /says that 65535 bytes follow/],
  [v2(0x21, 0x11, `${ADDRESSES_V4}01`), /ends in the middle of a TLV/],
  [v2(0x21, 0x11, `${ADDRESSES_V4}0100`), /ends in the middle of a TLV/],
  [v2(0x21, 0x11, `${ADDRESSES_V4}01000268`), /ends in the middle of a TLV/],
  [v2(0x21, 0x11, `${ADDRESSES_V4}01ffff68`), /ends in the middle of a TLV/],
  [v2(0x21, 0x11, `${ADDRESSES_V4}03000400000000`), /wrong checksum/],
  [v2(0x21, 0x11, `${ADDRESSES_V4}030002abcd`), /checksum that is not of 4 bytes/],
];

for (const [bytes, reason] of wrong) {
  const whole = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
  test(`wrong: ${JSON.stringify(whole.toString('latin1', 0, 60))}, and never right before that shows`, () => {
    for (let size = 0; size < whole.length; size++) {
      const { kind } = parseHeader(whole.subarray(0, size));
      assert.is.not(kind, 'complete', `${size} bytes`);
    }
    assert.match(meaning(whole), reason);
  });
}

test('a checksum that is right', () => {
  // The check value of CRC-32C (RFC 3720, B.4, and the usual catalogues).
  assert.is(crc32c(Buffer.from('123456789')), 0xe3069283);
  const bytes = v2(0x21, 0x11, `${ADDRESSES_V4}03000400000000`);
  bytes.writeUInt32BE(crc32c(bytes), bytes.length - 4);
  assert.is(meaning(bytes), '35: 203.0.113.7:51000 192.0.2.1:443');
  bytes.writeUInt8(8, 19);
  assert.match(meaning(bytes), /wrong checksum/);
});

test('the headers that are sent', () => {
  assert.is(String(formatHeader('v1', ipv4)), 'PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n');
  assert.is(String(formatHeader('v1', ipv6)), 'PROXY TCP6 2001:db8::1 2001:db8::2 51000 443\r\n');
  const mixed = { source: ipv4.source, destination: ipv6.destination };
  assert.is(String(formatHeader('v1', mixed)), 'PROXY TCP6 ::ffff:203.0.113.7 2001:db8::2 51000 443\r\n');
  assert.is(formatHeader('v2', ipv4).toString('hex'), `${SIGNATURE}2111000c${ADDRESSES_V4}`);
  const client = {
    source: Buffer.from('\0abstract'),
    destination: Buffer.from('/run/x.sock'),
    pid: 258,
    uid: 2 ** 32 - 2,
  };
  assert.is(String(formatUnixHeader('v1', client)), 'PROXY UNKNOWN\r\n');
  const unix = formatUnixHeader('v2', client);
  assert.is(unix.length, 16 + 216 + 14);
  assert.is(unix.toString('latin1', 16, 25), '\0abstract');
  assert.is(unix.toString('latin1', 124, 136), '/run/x.sock\0');
  assert.is(unix.toString('hex', 232), 'e0000400000102e10004fffffffe');
});

test('networks', () => {
  const source = (text: string) => {
    const parsed = parseHeader(Buffer.from(`PROXY TCP${text.includes(':') ? 6 : 4} ${text} ${text} 1 1\r\n`));
    if (parsed.kind !== 'complete' || !parsed.endpoints) throw new Error(text);
    return parsed.endpoints.source;
  };
  const isIn = (networks: string, address: string) =>
    isInNetworks(parseNetworks('--x', networks), source(address));
  for (const [networks, inside, outside] of [
    ['10.0.0.0/8', ['10.0.0.0', '10.255.255.255', '::ffff:10.1.2.3'], ['11.0.0.0', '9.255.255.255', 'a00::']],
    ['10.0.0.128/25', ['10.0.0.128', '10.0.0.255'], ['10.0.0.127', '10.0.1.128']],
    ['192.0.2.1', ['192.0.2.1'], ['192.0.2.0', '192.0.2.2']],
    ['0.0.0.0/0', ['1.2.3.4', '::ffff:1.2.3.4'], ['::1', '2001:db8::1']],
    ['::/0', ['::1', '2001:db8::1'], ['1.2.3.4']],
    ['2001:db8:0:8::/61', ['2001:db8:0:8::1', '2001:db8:0:f:ffff::'], ['2001:db8:0:7::', '2001:db8:0:10::']],
    ['::ffff:10.0.0.0/104', ['10.200.0.1'], ['11.0.0.1', '::1']],
    // What only looks like an IPv4 address is none, however long the prefix.
    ['2001:db8::a00:0/112', ['2001:db8::a00:1'], ['10.0.0.1', '::ffff:10.0.0.1', '2001:db8::b00:1']],
    ['::ffff:0:0/96', ['10.0.0.1', '::ffff:1.2.3.4'], ['::1', '::a00:1']],
    ['10.0.0.0/8,fd00::/8', ['10.1.1.1', 'fd12::1'], ['fe80::1', '127.0.0.1']],
  ] as const) {
    for (const address of inside) assert.ok(isIn(networks, address), `${address} in ${networks}`);
    for (const address of outside) assert.not(isIn(networks, address), `${address} not in ${networks}`);
  }
  for (const text of [
    '',
    '10.0.0.0/33',
    '::/129',
    'example.com',
    '10.0.0/8',
    '10.0.0.0/',
    '/8',
    '10.0.0.0/8,',
    '1.2.3.4/8/8',
    'fe80::1%lo',
    '[::1]',
  ])
    assert.throws(() => parseNetworks('--x', text), /--x ".*" is not a network like/, text);
});

test.run();
