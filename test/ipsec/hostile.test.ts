import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Answers } from '../hostile-peer.ts';
import type { Running } from '../lab/rig/shell.ts';
import { waitFor } from '../lab/rig/wait.ts';
import { blocked, hears, setDaemon } from './attacked.ts';
import { onWire, spawnOnWire } from './rig/segment.ts';
import type { Vm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { create, MARKER, PATIENCE, pair, transfer, wormhole } from './tunnels.ts';

const directory = mkdtempSync(join(tmpdir(), 'wormhole-hostile-'));
process.on('exit', () => rmSync(directory, { recursive: true }));

/** What the third machine answers from now on. */
function answerWith(answers: Answers): void {
  const version: Answers = { 'GET /v1/version': [200, { version: '0.1.0', api: 1 }] };
  writeFileSync(join(directory, 'answers.new'), JSON.stringify({ ...version, ...answers }));
  renameSync(join(directory, 'answers.new'), join(directory, 'answers'));
}

/** A third machine on the wire, 10.91.0.1, with the key of the others. */
async function thirdMachine(vm: Vm): Promise<Running> {
  const key = join(directory, 'key');
  writeFileSync(key, (await vm.run('cat /etc/wormhole/key.secret')).stdout, { mode: 0o600 });
  answerWith({});
  const machine = spawnOnWire(
    `exec node --import tsx test/hostile-peer.ts ${key} ${join(directory, 'answers')}`,
  );
  await waitFor(() => machine.stdout().includes('listening'), { what: 'the third machine', timeout: 30 });
  return machine;
}

/** Everything that the kernel and the unit of a tunnel say, without what counts and ages, once replaced keys have ended. */
async function stateOf(vm: Vm): Promise<string> {
  const keys = async () => (await vm.run('ip xfrm state list nokeys | grep -c ^src')).stdout;
  await vm.waitFor(async () => (await keys()) === '2\n', { what: 'replaced keys to end' });
  const { stdout } = await vm.run(`
    ip xfrm state list nokeys | grep -e ^src -e spi
    ip xfrm policy list
    ip -br address show type xfrm
    cat /etc/systemd/system/wormhole-tunnel@*.service
    cat /run/wormhole/links/*/far`);
  return stdout;
}

const OTHER_ID = '0123456789abcdef';
const SPI_AND_KEY = { spi: 4711, key: '5a'.repeat(36) };
const METADATA = [{ local: '169.254.169.254', remote: '169.254.169.253' }];
const UNKNOWN = { error: { code: 'not-found', message: 'nothing here' } };

/** What a machine answers to a request of a third one on the wire that has the key. */
async function askAs(vm: Vm, request: object): Promise<string> {
  const script = `
    import { withConnection } from './src/api/client.ts';
    const endpoint = { kind: 'tcp', host: '${vm.address}', port: 9999 };
    withConnection({ endpoint, keyFile: '${join(directory, 'key')}' }, (send) => send(${JSON.stringify(request)}))
      .then((answer) => console.log(JSON.stringify(answer)), (error) => console.log(error.message));`;
  const { stdout } = await onWire(
    `WORMHOLE_STATE_DIRECTORY=${directory} node --import tsx --input-type=module -`,
    { input: script },
  );
  return stdout;
}

vmSuite('tunnels under attack', pair, (test, at) => {
  let local = '';
  let remote = '';
  let third: Running | undefined;

  test('a link through a tunnel, for what follows', async () => {
    const { alpha, beta } = at();
    await beta.run(
      `systemd-run --unit serves socat TCP-LISTEN:7000,bind=127.0.0.1,reuseaddr,fork EXEC:"echo ${MARKER}"`,
    );
    await wormhole(alpha, 'create url :7000 tunnel beta tail');
    [local, remote] = await create(alpha, 'beta');
    await hears(alpha, 'at first');
    assert.match((await alpha.run('cat /run/wormhole/links/7000/far')).stdout, /^[0-9.:]+ wh-[0-9a-f]{6}\n$/);
  });

  test('a relay that leads to a third machine with the key: nothing is changed, and it is told', async () => {
    const { alpha, beta } = at();
    third = await thirdMachine(alpha);
    answerWith({ 'GET /v1/tunnels/shared': [200, {}] });
    await setDaemon(beta, 'stop');
    const relay = beta.spawn('socat TCP6-LISTEN:9999,ipv6-v6only=0,reuseaddr,fork TCP:10.91.0.1:9999');
    await beta.waitFor(async () => (await beta.run('ss -Hltn sport = :9999')).stdout !== '', {
      what: 'the relay to listen',
    });
    const before = await stateOf(alpha);
    const heard = third.stdout().length;
    for (const command of [
      'wormhole tunnel-rekey beta',
      'wormhole tunnel-rekey --now beta',
      'wormhole tunnel-create beta',
      'systemctl start wormhole-tunnel-rekey@beta',
    ]) {
      const { stderr, status } = await alpha.run(command, { check: false, timeout: PATIENCE });
      assert.is(status, 1, command);
      if (command.startsWith('wormhole'))
        assert.match(
          stderr,
          /^wormhole: machine beta has another identity than before: [^\n]+: wormhole peers accept beta [0-9a-f]{32}/,
          command,
        );
      assert.is(await stateOf(alpha), before, command);
    }
    assert.is(third.stdout().length, heard, 'it is asked for nothing');
    assert.match(await wormhole(alpha, 'tunnel-list'), /^beta .* up .* machine beta has another identity/m);
    assert.match(
      await alpha.journal('-q', '-o', 'cat', '-t', 'wormhole-tunnel'),
      /^wormhole: machine beta has another identity .*; the tunnel to beta keeps its keys/m,
    );
    await relay.stop();
    await setDaemon(beta, 'start');
    await transfer(alpha, beta, remote);
    await wormhole(alpha, 'tunnel-rekey --now beta');
    assert.not.match(await wormhole(alpha, 'tunnel-list'), /another identity/);
    await hears(alpha, 'after the relay');
  });

  test('a third machine can neither delete nor confirm nor replace the tunnel of the two', async () => {
    const { alpha } = at();
    const [{ id }] = JSON.parse(await wormhole(alpha, 'tunnel-list --json'));
    const before = await stateOf(alpha);
    const candidates = [{ local: '100.64.0.10', remote: '100.64.0.11' }];
    const proposal = { mode: 'esp', asked: true, keep: false, candidates, incoming: SPI_AND_KEY };
    const neighbours = [{ local: '100.64.0.10', remote: local }];
    for (const [method, path, body, expected] of [
      ['DELETE', `/v1/tunnels/${id}`, undefined, /was created with another machine than yours/],
      ['POST', `/v1/tunnels/${id}/settle`, { spi: 4711 }, /waits for a confirmation/],
      ['PUT', `/v1/tunnels/${id}`, proposal, /has the number of the one to beta, which stays as it is/],
      ['PUT', `/v1/tunnels/${id.slice(0, 6)}0000000000`, proposal, /has the number of the one to beta/],
      ['PUT', `/v1/tunnels/${OTHER_ID}`, { ...proposal, candidates: neighbours }, /none of the addresses/],
      ['PUT', `/v1/tunnels/${OTHER_ID}`, { ...proposal, candidates: METADATA }, /none of the addresses/],
      ['PUT', `/v1/tunnels/${OTHER_ID}`, { ...proposal, external: '127.0.0.1' }, /no tunnel between/],
      ['PUT', `/v1/tunnels/${OTHER_ID}`, { ...proposal, external: '224.0.0.1' }, /no tunnel between/],
      ['PUT', `/v1/tunnels/${OTHER_ID}`, { ...proposal, external: alpha.address }, /no tunnel between/],
    ] as const) {
      const answer = await askAs(alpha, { method, path, body });
      assert.match(answer, expected, `${method} ${JSON.stringify(body)}`);
    }
    assert.is(await stateOf(alpha), before);
  });

  test('a machine that lies about a tunnel: one line each, and nothing is changed', async () => {
    const { alpha } = at();
    try {
      const [{ id }] = JSON.parse(await wormhole(alpha, 'tunnel-list --json'));
      const before = await stateOf(alpha);
      const outer = { local: '10.91.0.1', remote: alpha.address };
      const shared = (tunnel: object) => ({ 'GET /v1/tunnels/shared': [200, { tunnel }] }) as Answers;
      const theirs = {
        id: OTHER_ID,
        mode: 'esp',
        outer,
        inner: { local: '100.64.0.11', remote: '100.64.0.10' },
        in: [],
        out: [],
      };
      const accepts = (answer: object): Answers => ({
        'GET /v1/tunnels/shared': [200, {}],
        'PUT /v1/tunnels/': [200, { inner: '$candidate', incoming: SPI_AND_KEY, ...answer }],
        'POST /v1/tunnels/': [204, null],
        'DELETE /v1/tunnels/': [204, null],
      });
      const cases: [what: string, answers: Answers, expected: RegExp][] = [
        ['an odd status', shared({ ...theirs, id: 'x' }), /the answer makes no sense: "tunnel.id" must be/],
        [
          'a number of another tunnel',
          shared({ ...theirs, id }),
          /has the number of the one to beta, which stays/,
        ],
        [
          'the same',
          shared({ ...theirs, id: `${id.slice(0, 6)}0000000000` }),
          /has the number of the one to beta/,
        ],
        [
          'the address of a cloud',
          shared({ ...theirs, inner: METADATA[0] }),
          /taken here, or not in 100\.64/,
        ],
        [
          'a loopback address',
          shared({ ...theirs, inner: { local: '127.0.0.53', remote: '127.0.0.54' } }),
          /not in 100\.64/,
        ],
        [
          'a neighbour',
          shared({ ...theirs, inner: { local: remote, remote: local } }),
          /which are taken here/,
        ],
        [
          'one address',
          shared({ ...theirs, inner: { local: '100.64.0.9', remote: '100.64.0.9' } }),
          /taken here, or not/,
        ],
        ['no way', { 'GET /v1/tunnels/shared': [200, { external: '127.0.0.1' }] }, /no tunnel between/],
        [
          'what was not offered',
          accepts({ inner: { local: '100.64.0.20', remote: '100.64.0.21' } }),
          /were not offered for the tunnel/,
        ],
        ['the address of a cloud again', accepts({ inner: METADATA[0] }), /were not offered for the tunnel/],
        [
          'a name',
          accepts({ inner: { local: 'a', remote: 'b' } }),
          /the answer makes no sense: "inner.local" must be/,
        ],
        [
          'an SPI that is reserved',
          accepts({ incoming: { ...SPI_AND_KEY, spi: 5 } }),
          /"incoming.spi" must be an SPI/,
        ],
        [
          'two commands',
          accepts({ incoming: { ...SPI_AND_KEY, key: `${'0'.repeat(70)}\nx` } }),
          /"incoming.key" must be/,
        ],
        ['a port', accepts({ udpPort: 4500 }), /"udpPort" must be there in UDP/],
        ['nothing', { ...accepts({}), 'PUT /v1/tunnels/': [204, null] }, /the answer makes no sense/],
        ['no confirmation', { ...accepts({}), 'POST /v1/tunnels/': [404, UNKNOWN] }, /nothing here/],
        ['an error then', { ...accepts({}), 'POST /v1/tunnels/': [500, UNKNOWN] }, /nothing here/],
      ];
      for (const [what, answers, expected] of cases) {
        answerWith(answers);
        const { stderr, status } = await alpha.run('wormhole tunnel-create 10.91.0.1', {
          check: false,
          timeout: PATIENCE,
        });
        assert.match(stderr, expected, what);
        assert.match(stderr, /^wormhole: [^\n]+\n$/, what);
        assert.is(status, 1, what);
        assert.is(await stateOf(alpha), before, what);
      }

      // Once there is a tunnel, it stays, whatever that machine says, since somebody has asked for it here.
      answerWith(accepts({}));
      await wormhole(alpha, 'tunnel-create 10.91.0.1');
      const units = async () => (await alpha.run('cat /etc/systemd/system/wormhole-tunnel@*')).stdout;
      const [unit, guards] = [await units(), await blocked(alpha)];
      answerWith({ ...accepts({}), 'PUT /v1/tunnels/': [404, UNKNOWN] });
      const { stderr } = await alpha.run('wormhole tunnel-rekey --now 10.91.0.1', {
        check: false,
        timeout: PATIENCE,
      });
      assert.match(stderr, /10\.91\.0\.1 refuses the tunnel, which was asked for here: nothing here/);
      assert.equal([await units(), await blocked(alpha)], [unit, guards]);
      await alpha.run('wormhole tunnel-delete 10.91.0.1', { timeout: PATIENCE });
      assert.is(await stateOf(alpha), before);
    } finally {
      await third?.stop();
    }
  });
});
