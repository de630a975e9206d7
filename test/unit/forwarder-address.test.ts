import { once } from 'node:events';
import net, { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  addressText,
  isWildcard,
  localPortOf,
  parseAddress,
  peerOf,
  readHost,
} from '../../src/forwarder/address.ts';
import { AF_INET, AF_INET6, copyFrom, pinned } from '../../src/forwarder/syscalls.ts';

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

test('the sockaddr has the family, the port and the address in the order that the kernel wants', () => {
  const bytes = (text: string) => {
    const { sockaddr, size } = parseAddress(text);
    return copyFrom(sockaddr, size).toString('hex');
  };
  assert.is(bytes('192.0.2.1:258'), `02000102c0000201${'00'.repeat(8)}`);
  assert.is(bytes('[2001:db8::1]:258'), `0a00010200000000${'20010db8000000000000000000000001'}00000000`);
  assert.is(parseAddress('192.0.2.1:258').size, 16);
});

test('a sockaddr is written as text as a person would', () => {
  const text = (address: string) => {
    const { sockaddr, size } = parseAddress(address);
    return addressText(copyFrom(sockaddr, size));
  };
  for (const address of ['127.0.0.1:1', '255.1.2.3:65535', '[::1]:80', '[2001:db8::1:0:0:1]:443', '[::]:1'])
    assert.is(text(address), address);
  assert.is(text('[2001:DB8:0:0:0:0:0:1]:1'), '[2001:db8::1]:1');
  assert.is(text('[::ffff:10.0.0.2]:80'), '10.0.0.2:80');
  // An address that only looks like one that is mapped.
  assert.is(text('[::fffe:10.0.0.2]:80'), '[::fffe:a00:2]:80');
  assert.is(text('[1::ffff:10.0.0.2]:80'), '[1::ffff:a00:2]:80');
});

/** The descriptor of a socket of Node. */
function descriptorOf(socket: net.Socket | net.Server): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}

test('a socket tells its peer and its own port, and whether it is bound to all addresses', async () => {
  for (const host of ['127.0.0.1', '::1', '0.0.0.0', '::']) {
    const server = net.createServer().listen(0, host);
    await once(server, 'listening');
    const { port } = server.address() as net.AddressInfo;
    const client = net.connect(port, host.includes(':') ? '::1' : '127.0.0.1');
    const [accepted] = (await once(server, 'connection')) as [net.Socket];
    if (client.connecting) await once(client, 'connect');
    const listener = descriptorOf(server);
    assert.is(localPortOf(listener), port);
    assert.is(isWildcard(listener), ['0.0.0.0', '::'].includes(host), host);
    assert.is(peerOf(listener), undefined);
    assert.is(peerOf(descriptorOf(client)), `${host.includes(':') ? '[::1]' : '127.0.0.1'}:${port}`);
    assert.is(localPortOf(descriptorOf(client)), client.localPort);
    client.destroy();
    accepted.destroy();
    server.close();
  }
  assert.equal([peerOf(-1), localPortOf(-1), isWildcard(-1)], [undefined, 0, false]);
});

test('the peer of a unix socket is a process', async () => {
  const server = net.createServer().listen(`\0wormhole-test-${process.pid}`);
  await once(server, 'listening');
  const client = net.connect(`\0wormhole-test-${process.pid}`);
  const [accepted] = (await once(server, 'connection')) as [net.Socket];
  assert.is(peerOf(descriptorOf(accepted)), `process ${process.pid}`);
  client.destroy();
  accepted.destroy();
  server.close();
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
    'x:127.0.0.1:80',
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
