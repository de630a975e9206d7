import './own-state.ts';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { applySteps, undoSteps } from '../../src/ipsec/apply.ts';
import { guardSteps } from '../../src/ipsec/plan.ts';
import { releaseGuard, retainGuard } from '../../src/state/retained-guards.ts';
import { addGuard, bringUp, tearDown } from '../../src/tunnels/kernel.ts';
import type { Tunnel } from '../../src/units/tunnel.ts';
import { recordIp } from './recording-ip.ts';

/* The order in which the kernel is told of tunnels: what is undone when something fails, and that clear text is blocked all the while. */

const test = suite('the order of changes to the kernel');

const ip = recordIp();
test.before.each(() => ip.reset());
test.after(ip.remove);

const tunnel: Tunnel = {
  id: '1a2b3c4d5e6f7081',
  peer: 'beta',
  machine: 'b'.repeat(32),
  outer: { local: '10.0.0.1', remote: '10.0.0.2' },
  inner: { local: '100.64.0.2', remote: '100.64.0.3' },
  mode: 'esp',
  asked: true,
  keyFile: '/etc/wormhole/key.secret',
};
const outgoing = { spi: 4096, key: Buffer.alloc(36, 1) };

const isBlock = (line: string) => line.endsWith('action block');
const isUnblock = (line: string) => guardSteps(tunnel.inner).some(({ undo }) => undo === line);

async function refusal(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing was refused',
    (error: Error) => error.message,
  );
}

test('the last step is undone first, and one that failed is not undone', async () => {
  ip.reset({ refused: 'three' });
  const steps = ['one', 'two', 'three', 'four'].map((line) => ({ line, undo: `no ${line}` }));
  assert.match(await refusal(applySteps(steps)), /^ip three: /);
  assert.equal(ip.lines(), ['one', 'two', 'three', 'no two', 'no one']);
});

test('what has no way back is left out when steps are undone', async () => {
  await undoSteps([{ line: 'one', undo: 'no one' }, { line: 'two' }, { line: 'three', undo: 'no three' }]);
  assert.equal(ip.lines(), ['no three', 'no one']);
});

test('clear text is blocked before there is an interface, and the interface is there before the keys', async () => {
  await bringUp(tunnel, outgoing);
  const lines = ip.lines();
  assert.is(lines.findLastIndex(isBlock), 2);
  assert.is(lines.filter(isBlock).length, 3);
  assert.match(lines[3] ?? '', /^link add wh-1a2b3c /);
  const up = lines.indexOf('link set wh-1a2b3c up');
  assert.ok(up > 3);
  assert.match(lines[up + 1] ?? '', /^xfrm state add src 10\.0\.0\.1 dst 10\.0\.0\.2 /);
  assert.is(lines.length, up + 2);
});

test('when the keys are refused the interface goes, and clear text stays blocked', async () => {
  ip.reset({ refused: 'xfrm state add' });
  assert.match(await refusal(bringUp(tunnel, outgoing)), /^ip xfrm state add /);
  const lines = ip.lines();
  assert.is(lines.at(-1), 'link delete wh-1a2b3c');
  assert.equal(lines.filter(isUnblock), []);
});

test('one policy that is refused does not take back those that block already', async () => {
  ip.reset({ refused: 'dir fwd' });
  assert.match(await refusal(addGuard(tunnel.inner)), /dir fwd/);
  assert.equal(ip.lines().filter(isUnblock), []);
});

test('clear text is blocked until nothing else of a tunnel is left', async () => {
  ip.reset({ device: 'wh-1a2b3c' });
  await tearDown(tunnel);
  const lines = ip.lines();
  assert.is(lines[0], 'link delete wh-1a2b3c');
  assert.is(lines.slice(1).filter(isUnblock).length, 3);
  ip.reset({ device: 'wh-1a2b3c', refused: 'link delete' });
  assert.match(await refusal(tearDown(tunnel)), /^ip link delete wh-1a2b3c: /);
  assert.equal(ip.lines().filter(isUnblock), []);
});

test('clear text stays blocked for as long as links lead through a tunnel that is deleted', async () => {
  const record = { ...tunnel, links: ['3306'] };
  retainGuard(record);
  await tearDown(tunnel);
  assert.equal(ip.lines().filter(isUnblock), []);
  releaseGuard(tunnel.id);
  await tearDown(tunnel);
  assert.is(ip.lines().filter(isUnblock).length, 3);
});

test('a tunnel whose addresses are not agreed on has nothing to unblock', async () => {
  await tearDown({ ...tunnel, inner: { local: '', remote: '' } });
  assert.equal(ip.lines(), []);
});

test.run();
