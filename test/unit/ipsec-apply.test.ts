import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { apply, carryOutAll, IpError, ip, takeBack } from '../../src/ipsec/apply.ts';
import { association, guard } from '../../src/ipsec/plan.ts';

const test = suite('what is handed to ip');

const overlay = { local: '192.0.2.2', remote: '192.0.2.3' };
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

test('all steps or none, and taking back what is gone already is fine', async () => {
  const steps = guard(overlay);
  await apply(steps);
  assert.is(await policies(), 3);
  await takeBack(steps);
  assert.is(await policies(), 0);
  await takeBack(steps);
  const message = await failure(apply([...steps, { line: 'link set no-such-device up' }, ...steps]));
  assert.match(message, /^ip link set no-such-device up: Cannot find device "no-such-device"$/);
  assert.is(await policies(), 0);
});

test('what cannot go is told after all the others have gone', async () => {
  await apply(guard(overlay));
  const undo = guard(overlay).map((step) => step.undo ?? '');
  const message = await failure(carryOutAll(['xfrm nonsense', ...undo]));
  assert.match(message, /^ip xfrm nonsense: /);
  assert.is(await policies(), 0);
});

test('no message has a key in it', async () => {
  const end = { number: 0x57000001, outer: { me: '192.0.2.2', peer: 'nonsense' } };
  const { line } = association('in', end, { spi: 4096, key });
  assert.ok(line.includes('abababab'));
  for (const input of [
    line,
    line.replace(' 128 flag', ' x128 flag'),
    line.replace('aead rfc', 'aead x'),
    `${line} 0xabababababababababababababababababab`,
  ])
    assert.not.match(await failure(ip(['-batch', '-'], input)), /abab/);
});

test.run();
