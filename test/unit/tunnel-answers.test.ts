import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Recorded, Watched } from './tunnel-answers-run.ts';

/* What a machine does about tunnels that others ask it for: with the clock set back, refused meanwhile, or while it asks itself. */

const test = suite('tunnels that other machines ask for');

const directory = mkdtempSync(join(tmpdir(), 'wormhole-tunnels-'));
test.after(() => rmSync(directory, { recursive: true }));

let results: Record<string, Watched> = {};
let recorded: Partial<Recorded> = {};

test.before(() => {
  const isRoot = process.geteuid?.() === 0;
  const program = fileURLToPath(new URL('./tunnel-answers-run.ts', import.meta.url));
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    [...(isRoot ? [] : ['--map-root-user']), '--mount', process.execPath, '--import', 'tsx', program],
    { encoding: 'utf8', env: { ...process.env, WORMHOLE_STATE_DIRECTORY: join(directory, 'state') } },
  );
  assert.is(status, 0, stderr);
  ({ results, recorded } = JSON.parse(stdout));
});

const END = ['xfrm state delete src 10.0.0.2 dst 10.0.0.1 proto esp spi 0x1111', 'link delete wh-1a2b3c'];

test('what there is of a tunnel that this machine has just asked for is not taken for what a killed command has left', () => {
  assert.equal(results.swept?.lines, END);
  assert.equal(results.initiating, { lines: [], message: '', units: [] });
  // The process that asked has ended.
  assert.equal(results.interrupted?.lines, END);
});

test('the keys that were agreed on last stay, also when the clock has been set back since the former ones', () => {
  assert.equal(results.settled?.lines, ['xfrm state delete src 10.0.0.2 dst 10.0.0.1 proto esp spi 0x1111']);
  assert.equal(results.settled?.units, ['wormhole-tunnel@10.0.0.2.service']);
});

test('an answer that an earlier version has recorded is forgotten', () => {
  assert.is(results.former?.message, '');
  assert.is(recorded.formerAnswer, false);
});

test('a machine that is refused between its question and its confirmation gets no tunnel', () => {
  for (const result of [results.refused, results.proposed]) {
    assert.match(result?.message ?? '', /^machine d{32} is refused here: /);
    assert.equal(result?.lines, []);
    assert.equal(result?.units, ['wormhole-tunnel@10.0.0.2.service']);
  }
  assert.is(results.withdrawn?.lines[0], 'xfrm state delete src 10.0.0.2 dst 10.0.0.1 proto esp spi 0x2222');
  assert.is(results.withdrawn?.message, '');
});

test('a machine whose tunnel cannot be written is not accepted in the place of another', () => {
  assert.match(results.unwritable?.message ?? '', /EROFS/);
  assert.is(recorded.named, 'b'.repeat(32));
});

test.run();
