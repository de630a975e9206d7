import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { applySteps, IpError, ip, runRemovals, undoSteps } from '../../src/ipsec/apply.ts';
import { associationStep, guardSteps } from '../../src/ipsec/plan.ts';

const test = suite('what is handed to ip');

const inner = { local: '192.0.2.2', remote: '192.0.2.3' };
const key = Buffer.alloc(36, 0xab);

async function failure(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason) => reason,
  );
  assert.instance(error, IpError);
  return (error as IpError).message;
}

const policies = async () => (await ip(['xfrm', 'policy', 'list'])).match(/192\.0\.2\.\d/g)?.length ?? 0;

test('all steps or none, and undoing what is gone already is fine', async () => {
  const steps = guardSteps(inner);
  await applySteps(steps);
  assert.is(await policies(), 3);
  await undoSteps(steps);
  assert.is(await policies(), 0);
  await undoSteps(steps);
  const message = await failure(applySteps([...steps, { line: 'link set no-such-device up' }, ...steps]));
  assert.match(message, /^ip link set no-such-device up: Cannot find device "no-such-device"$/);
  assert.is(await policies(), 0);
});

test('a removal that fails is reported after all others are done', async () => {
  await applySteps(guardSteps(inner));
  const undo = guardSteps(inner).map((step) => step.undo ?? '');
  const message = await failure(runRemovals(['xfrm nonsense', ...undo]));
  assert.match(message, /^ip xfrm nonsense: /);
  assert.is(await policies(), 0);
});

test('no message has a key in it', async () => {
  const end = { number: 0x57000001, outer: { local: '192.0.2.2', remote: 'nonsense' } };
  const { line } = associationStep({ direction: 'in', end, association: { spi: 4096, key } });
  assert.ok(line.includes('abababab'));
  for (const input of [
    line,
    line.replace(' 128 flag', ' x128 flag'),
    line.replace('aead rfc', 'aead x'),
    `${line} 0xabababababababababababababababababab`,
  ])
    assert.not.match(await failure(ip(['-batch', '-'], input)), /abab/);
});

test('a command without input has no pipe for it: writing to one that has ended already would be an error', async () => {
  const path = process.env.PATH;
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-ip-'));
  try {
    writeFileSync(join(directory, 'ip'), '#!/bin/sh\nreadlink /proc/$$/fd/0\n', { mode: 0o755 });
    process.env.PATH = `${directory}:${path}`;
    assert.is(await ip(['address', 'show']), '/dev/null\n');
    assert.match(await ip(['-batch', '-'], 'address show'), /^(socket|pipe):/);
  } finally {
    process.env.PATH = path;
    rmSync(directory, { recursive: true });
  }
});

test('what the kernel lacks is said in a line, with the way to get it, and without the command', async () => {
  const path = process.env.PATH;
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-ip-'));
  try {
    for (const [said, expected] of [
      [
        'Error: Unknown device type.',
        /^the kernel of \S+ cannot carry tunnels, it lacks xfrm interfaces: modprobe -a xfrm_interface, or /,
      ],
      [
        'Error: Requested AEAD algorithm not found.',
        /lacks ESP with AES-GCM: modprobe -a esp4 esp6, or boot a kernel with /,
      ],
      ['RTNETLINK answers: Protocol not supported', /lacks ESP with AES-GCM/],
    ] as const) {
      writeFileSync(
        join(directory, 'ip'),
        `#!/bin/sh\necho '${said}' >&2\necho 'Command failed -:1' >&2\nexit 1\n`,
        {
          mode: 0o755,
        },
      );
      process.env.PATH = `${directory}:${path}`;
      const message = await failure(ip(['-batch', '-'], 'xfrm state add something'));
      assert.match(message, expected);
      assert.not.match(message, /\n|xfrm state/);
    }
  } finally {
    process.env.PATH = path;
    rmSync(directory, { recursive: true });
  }
});

test.run();
