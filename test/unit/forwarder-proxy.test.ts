import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatHeader } from '../../src/forwarder/proxy-protocol/format.ts';
import { parseHeader } from '../../src/forwarder/proxy-protocol/parse.ts';
import {
  closeAll,
  collect,
  connect,
  freePort,
  hear,
  launch,
  run,
  serve,
  sleep,
  spentDuring,
  until,
  within,
} from './forwarder-launch.ts';
import { closeUnixSockets, unixSocket } from './unix-sockets.ts';

/* PROXY headers, in both directions, with real sockets. */

test.after.each(async () => {
  await closeAll();
  closeUnixSockets();
});

const directory = mkdtempSync(join(tmpdir(), 'wormhole-proxy-'));
test.after(() => rmSync(directory, { recursive: true }));

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

/** A target that answers with all that it hears, in brackets, once the client has ended. */
function echo(port = 0, host = '127.0.0.1') {
  return serve(
    async (socket) => {
      const { bytes } = await collect(socket);
      socket.end(Buffer.from(`[${bytes.toString('latin1')}]`, 'latin1'));
    },
    port,
    host,
  );
}

/** What a client hears from an {@link echo} after it has said `say` and has ended, and from which port. */
async function exchange(
  port: number,
  say: string | Buffer,
  host = '127.0.0.1',
): Promise<{ heard: string; port: number }> {
  const socket = await connect(port, host);
  const own = socket.localPort as number;
  socket.end(say);
  const { bytes } = await collect(socket);
  return { heard: bytes.toString('latin1'), port: own };
}

/** A header of version 2 with this command, family and payload. */
function v2(command: number, family: number, payload = Buffer.alloc(0)): Buffer {
  const size = Buffer.alloc(2);
  size.writeUInt16BE(payload.length);
  return Buffer.concat([SIGNATURE, Buffer.of(command, family), size, payload]);
}

const TRUST = ['--accept-proxy-protocol', '127.0.0.0/8,::1'];
const V1 = 'PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n';
const named = parseHeader(Buffer.from(V1));
if (named.kind !== 'complete' || !named.endpoints) throw new Error('no header');
const V2 = formatHeader('v2', named.endpoints).toString('latin1');

test('version 1 and version 2 over IPv4 and IPv6 name the client and where it has connected to', async () => {
  const target = await echo();
  for (const host of ['127.0.0.1', '::1']) {
    for (const version of ['v1', 'v2'] as const) {
      const forwarder = await launch({ to: target.port, host, args: ['--proxy-protocol', version] });
      const { heard, port } = await exchange(forwarder.port, 'hello', host);
      const said = `PROXY TCP${net.isIPv6(host) ? 6 : 4} ${host} ${host} ${port} ${forwarder.port}\r\n`;
      const parsed = parseHeader(Buffer.from(said));
      if (parsed.kind !== 'complete' || !parsed.endpoints) throw new Error(said);
      const header = version === 'v1' ? said : formatHeader('v2', parsed.endpoints).toString('latin1');
      assert.is(heard, `[${header}hello]`);
    }
  }
});

test('an IPv4 client of a listener on [::] is one of IPv4', async () => {
  const forwarder = await launch({ to: (await echo()).port, host: '::', args: ['--proxy-protocol', 'v1'] });
  const { heard, port } = await exchange(forwarder.port, 'x');
  assert.is(heard, `[PROXY TCP4 127.0.0.1 127.0.0.1 ${port} ${forwarder.port}\r\nx]`);
});

test('a target that speaks first has the header when it is connected, before the client says anything', async () => {
  const target = await serve((socket) =>
    socket.once('data', (data) => socket.write(`welcome ${String(data).slice(0, 10)}`)),
  );
  const forwarder = await launch({ to: target.port, args: ['--proxy-protocol', 'v1'] });
  const client = await connect(forwarder.port);
  const [first] = await within(
    60_000,
    new Promise<Buffer[]>((resolve) => client.once('data', (data) => resolve([data]))),
  );
  assert.is(String(first), 'welcome PROXY TCP4');
});

test('a client that has said something and reset before it was accepted is named, too', async () => {
  const heard: string[] = [];
  const target = await serve((socket) => {
    let all = '';
    socket.on('data', (data) => {
      all += data.toString('latin1');
    });
    socket.once('end', () => socket.end());
    socket.once('close', () => heard.push(all));
  });
  for (const [args, greeting] of [
    [['--proxy-protocol', 'v1'], ''],
    [['--proxy-protocol', 'v1', ...TRUST], 'PROXY UNKNOWN\r\n'],
  ] as const) {
    const forwarder = await launch({ to: target.port, args: [...args] });
    await exchangeNothing(forwarder.port);
    await until(() => heard.length > 0);
    heard.length = 0;
    forwarder.kill('SIGSTOP');
    const client = await connect(forwarder.port);
    const port = client.localPort;
    await new Promise((resolve) => client.write(`${greeting}hello`, resolve));
    client.resetAndDestroy();
    forwarder.kill('SIGCONT');
    await until(() => heard.length > 0);
    const said = `PROXY TCP4 127.0.0.1 127.0.0.1 ${port} ${forwarder.port}\r\n`;
    // The bytes of a client that has reset may be lost, its name must not.
    assert.ok([said, `${said}hello`].includes(heard[0] ?? ''), heard[0]);
    heard.length = 0;
  }

  /** So that the forwarder runs, and its listening socket has its options. */
  async function exchangeNothing(port: number): Promise<void> {
    const client = await connect(port);
    client.end('PROXY UNKNOWN\r\n');
    client.destroySoon();
  }
});

test('a target that starts late gets the header once, in front of what the client has said meanwhile', async () => {
  const port = freePort();
  const forwarder = await launch({ to: port, args: ['--proxy-protocol', 'v1', '--dial-timeout', '30'] });
  const clients = Array.from({ length: 100 }, (_, i) => exchange(forwarder.port, `${i} `.repeat(40_000)));
  await sleep(1500);
  await echo(port);
  for (const [i, client] of clients.entries()) {
    const { heard, port: own } = await client;
    assert.ok(
      heard.startsWith(`[PROXY TCP4 127.0.0.1 127.0.0.1 ${own} ${forwarder.port}\r\n${i} `),
      heard.slice(0, 80),
    );
    assert.is(
      heard.length,
      `[PROXY TCP4 127.0.0.1 127.0.0.1 ${own} ${forwarder.port}\r\n]`.length + `${i} `.length * 40_000,
    );
  }
});

test('without a pipe for the header nothing of the client reaches the target before it', async () => {
  const port = freePort();
  // Clients whose target is away hold pipes: more than there are descriptors for.
  const forwarder = await launch({
    to: port,
    before: 'ulimit -n 90',
    args: ['--proxy-protocol', 'v1', '--dial-timeout', '30', '--max-connections', '8'],
  });
  const clients = Array.from({ length: 40 }, (_, i) => exchange(forwarder.port, `client ${i}`));
  await until(() => /8 clients are connected/.test(forwarder.log()));
  await echo(port);
  for (const [i, client] of clients.entries()) {
    const { heard, port: own } = await client;
    assert.is(heard, `[PROXY TCP4 127.0.0.1 127.0.0.1 ${own} ${forwarder.port}\r\nclient ${i}]`);
  }
});

test('a client of a unix socket: paths, process and user in version 2, UNKNOWN in version 1', async () => {
  const target = await echo();
  for (const version of ['v1', 'v2'] as const) {
    const path = join(directory, `${version}.sock`);
    const head = unixSocket('unix').bind(path).listen();
    run(
      ['--link', 'test', '--to', `127.0.0.1:${target.port}`, '--proxy-protocol', version],
      'export LISTEN_FDS=1 LISTEN_PID=$$;',
      { fds: [head.fd] },
    );
    const client = net.connect({ path, allowHalfOpen: true });
    client.end('hello');
    const { bytes } = await collect(client);
    rmSync(path);
    if (version === 'v1') {
      assert.is(String(bytes), '[PROXY UNKNOWN\r\nhello]');
      continue;
    }
    const header = bytes.subarray(1, -6);
    assert.ok(header.subarray(0, 14).equals(Buffer.concat([SIGNATURE, Buffer.of(0x21, 0x31)])));
    assert.is(header.length, 16 + header.readUInt16BE(14));
    assert.is(header.toString('latin1', 124, 232).replace(/\0+$/, ''), path);
    const tlvs = header.subarray(232);
    assert.equal([...tlvs.subarray(0, 3), ...tlvs.subarray(7, 10)], [0xe0, 0, 4, 0xe1, 0, 4]);
    assert.is(tlvs.readUInt32BE(3), process.pid);
    assert.is(tlvs.readUInt32BE(10), process.getuid?.());
  }
});

test('a target at a path gets the header, too', async () => {
  const path = join(directory, 'target.sock');
  const server = net.createServer({ allowHalfOpen: true }, async (socket) => {
    const { bytes } = await collect(socket);
    socket.end(Buffer.from(`[${bytes.toString('latin1')}]`, 'latin1'));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const forwarder = await launch({ to: path, args: ['--proxy-protocol', 'v1'] });
  const { heard, port } = await exchange(forwarder.port, 'hello');
  server.close();
  assert.is(heard, `[PROXY TCP4 127.0.0.1 127.0.0.1 ${port} ${forwarder.port}\r\nhello]`);
});

test('trusted clients: their header is taken away, whole and alone, however it is cut into packets', async () => {
  const forwarder = await launch({ to: (await echo()).port, args: TRUST });
  for (const header of [V1, V2, v2(0x20, 0, Buffer.alloc(300)).toString('latin1'), 'PROXY UNKNOWN\r\n']) {
    const bytes = Buffer.from(`${header}hello`, 'latin1');
    assert.is((await exchange(forwarder.port, bytes)).heard, '[hello]');
    assert.is(
      (await exchange(forwarder.port, Buffer.from(header, 'latin1'))).heard,
      '[]',
      'a client that says nothing',
    );
    const cuts =
      bytes.length > 100 ? [1, 15, 16, 17, 200] : Array.from({ length: bytes.length - 1 }, (_, i) => i + 1);
    const answers = cuts.map(async (cut) => {
      const socket = await connect(forwarder.port);
      socket.setNoDelay();
      socket.write(bytes.subarray(0, cut));
      await sleep(20);
      socket.end(bytes.subarray(cut));
      return String((await collect(socket)).bytes);
    });
    assert.equal(
      await Promise.all(answers),
      cuts.map(() => '[hello]'),
    );
  }
  assert.is(forwarder.log(), '');
  // For a header that takes 5 s the forwarder does not wait.
  for (let took = Number.POSITIVE_INFINITY; took > 4000; ) {
    const patient = await launch({ to: (await echo()).port, args: TRUST });
    assert.is((await exchange(patient.port, `${V1}hello`)).heard, '[hello]');
    const began = performance.now();
    const slowly = await connect(patient.port);
    slowly.setNoDelay();
    for (const byte of Buffer.from(`${V1}hello`)) {
      slowly.write(Buffer.of(byte));
      await sleep(2);
    }
    slowly.end();
    const heard = String((await collect(slowly)).bytes);
    took = performance.now() - began;
    if (took <= 4000) assert.equal([heard, patient.log()], ['[hello]', '']);
  }
});

test('headers chain: the target is told what the trusted client has told, in its own version', async () => {
  const target = await echo();
  for (const [version, expected] of [
    ['v1', V1],
    ['v2', V2],
  ] as const) {
    const forwarder = await launch({ to: target.port, args: [...TRUST, '--proxy-protocol', version] });
    for (const header of [V1, V2])
      assert.is(
        (await exchange(forwarder.port, Buffer.from(`${header}hello`, 'latin1'))).heard,
        `[${expected}hello]`,
      );
  }
  const forwarder = await launch({ to: target.port, args: [...TRUST, '--proxy-protocol', 'v1'] });
  for (const header of [
    'PROXY UNKNOWN\r\n',
    v2(0x20, 0x11, Buffer.alloc(12)).toString('latin1'),
    v2(0x21, 0).toString('latin1'),
  ]) {
    const { heard, port } = await exchange(forwarder.port, Buffer.from(`${header}hello`, 'latin1'));
    assert.is(heard, `[PROXY TCP4 127.0.0.1 127.0.0.1 ${port} ${forwarder.port}\r\nhello]`);
  }
});

test('two headers: the second one is of the client, and so is one from a network that is not trusted', async () => {
  const target = await echo();
  const trusting = await launch({ to: target.port, args: TRUST });
  assert.is((await exchange(trusting.port, `${V1}${V1}hello`)).heard, `[${V1}hello]`);
  const careful = await launch({
    to: target.port,
    args: ['--accept-proxy-protocol', '192.0.2.0/24', '--proxy-protocol', 'v1'],
  });
  const { heard, port } = await exchange(careful.port, `${V1}hello`);
  assert.is(heard, `[PROXY TCP4 127.0.0.1 127.0.0.1 ${port} ${careful.port}\r\n${V1}hello]`);
  assert.is(careful.log() + trusting.log(), '');
});

test('what is no header is reset at once, one that stays incomplete in time, and one line tells each', async () => {
  let connections = 0;
  const target = await serve(() => {
    connections += 1;
  });
  const bad: [say: string | Buffer, reason: RegExp][] = [
    ['GET / HTTP/1.1\r\n', /its PROXY header is missing: it begins with "GET \/ HTTP\/1\.1\.\."/],
    ['\x1b]0;owned\x07', /is missing: it begins with "\.\]0;owned\."/],
    ['PROXY TCP4 1.2.3.4\r\n', /of version 1 is wrong: "PROXY TCP4 1\.2\.3\.4"/],
    [`PROXY UNKNOWN ${'x'.repeat(200)}`, /has no end within 107 bytes/],
    [v2(0x21, 0x11, Buffer.alloc(65_535)), /says that 65535 bytes follow; 4096 are the most/],
    [v2(0x21, 0x11, Buffer.alloc(4)), /has 4 bytes where the addresses alone take 12/],
  ];
  for (const [say, reason] of bad) {
    const forwarder = await launch({ to: target.port, args: TRUST });
    for (let i = 0; i < 3; i++) {
      const client = await connect(forwarder.port);
      client.write(say);
      assert.is((await collect(client)).how, 'ECONNRESET', String(say));
    }
    assert.match(forwarder.log(), reason);
    assert.match(
      forwarder.log(),
      /^<4>link test: closed the client 127\.0\.0\.1:\d+: its PROXY header [ -~]+\n$/,
    );
    await until(() => forwarder.descriptors('socket') === 1);
  }
  const forwarder = await launch({ to: target.port, args: TRUST });
  const clients = await Promise.all(
    ['', 'PROXY ', V1.slice(0, -1), V2.slice(0, 20)].map(async (say) => {
      const client = await connect(forwarder.port);
      client.write(Buffer.from(say, 'latin1'));
      return collect(client);
    }),
  );
  assert.equal(
    clients.map(({ how }) => how),
    Array(4).fill('ECONNRESET'),
  );
  assert.match(
    forwarder.log(),
    /^<4>link test: closed the client 127\.0\.0\.1:\d+: its PROXY header is not complete after 5 s\n$/,
  );
  const half = await connect(forwarder.port);
  half.end('PROXY TCP4 ');
  assert.is((await collect(half)).how, 'ECONNRESET');
  assert.is(connections, 0);
});

test('clients that wait with their header cost nothing, count as open, and do not hold up others', async () => {
  const target = await echo();
  const forwarder = await launch({ to: target.port, args: [...TRUST, '--max-connections', '10'] });
  const waiting = await Promise.all(Array.from({ length: 9 }, () => connect(forwarder.port)));
  for (const client of waiting) client.write('PROXY TC');
  assert.is((await exchange(forwarder.port, `${V1}hello`)).heard, '[hello]');
  await until(() => forwarder.descriptors('socket') === 10);
  // They are reset after 5 s.
  const spent = await spentDuring(forwarder, () => sleep(2000));
  assert.ok(spent < 0.4, `${spent} s of CPU time`);
  // The eleventh waits in the backlog until one leaves.
  waiting.push(await connect(forwarder.port));
  const late = exchange(forwarder.port, `${V1}late`);
  assert.is((await late).heard, '[late]');
  for (const client of waiting) client.destroy();
  await until(() => forwarder.descriptors('socket') === 1);
});

test('a client that only connects, as a health check does, is no fault', async () => {
  const forwarder = await launch({ to: (await echo()).port, args: TRUST });
  (await connect(forwarder.port)).end();
  (await connect(forwarder.port)).resetAndDestroy();
  await until(() => forwarder.descriptors('socket') === 1);
  assert.is((await exchange(forwarder.port, `${V1}hello`)).heard, '[hello]');
  assert.is(forwarder.log(), '');
});

test('lines about a client name the one of the header', async () => {
  const forwarder = await launch({ to: freePort(), args: [...TRUST, '--dial-timeout', '0'] });
  assert.is(await hear(forwarder.port, { say: V1 }), 'reset');
  assert.match(
    forwarder.log(),
    /closed the client 203\.0\.113\.7:51000 behind 127\.0\.0\.1:\d+; the next connection tries again/,
  );
});

test('header bytes are not counted, and a header that is wrong is a client denied', async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'wormhole-')), 'counters');
  const stdout = openSync(file, 'w+');
  const figure = (name: string): number => {
    const bytes = readFileSync(file);
    const names = bytes.toString('latin1', 0, 1024).split('\n')[1]?.split(' ') ?? [];
    return bytes.readDoubleLE(1024 + 8 * names.indexOf(name));
  };
  const args = [...TRUST, '--proxy-protocol', 'v2', '--counters', '1'];
  const forwarder = await launch({ to: (await echo()).port, args, stdout });
  closeSync(stdout);
  assert.match((await exchange(forwarder.port, `${V1}hello`)).heard, /hello\]$/);
  assert.is(await hear(forwarder.port, { say: 'nonsense' }), 'reset');
  await until(() => figure('open') === 0);
  assert.equal(['bytesFromClients', 'served', 'denied', 'unserved'].map(figure), [5, 1, 1, 0]);
  rmSync(dirname(file), { recursive: true });
});

test('wrong options', async () => {
  for (const [args, expected] of [
    [['--proxy-protocol', 'v3'], /--proxy-protocol "v3" is neither v1 nor v2/],
    [
      ['--accept-proxy-protocol', '10.0.0.0/33'],
      /--accept-proxy-protocol "10\.0\.0\.0\/33" is not a network/,
    ],
    [
      ['--allow', '10.0.0.1', '--proxy-protocol', 'v1'],
      /--allow "10\.0\.0\.1" and PROXY headers exclude each other/,
    ],
  ] as const) {
    const forwarder = await launch({ to: 1, args: [...args] });
    assert.is(await forwarder.exited, 2);
    assert.match(forwarder.log(), expected);
  }
});

test.run();
