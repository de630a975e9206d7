import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { buildPrograms, programs } from '../programs.ts';

/* What the programs do when their output is not read or cannot be written. */

buildPrograms();

/** Runs a program with the shell's redirections. What it prints on stderr, and its exit status. */
async function run(
  program: keyof typeof programs,
  args: string,
  redirections: string,
): Promise<[string, number]> {
  const command = `"${process.execPath}" "${programs[program]}" ${args} ${redirections}`;
  const child = spawn('bash', ['-c', `${command}; exit \${PIPESTATUS[0]}`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [status] = await once(child, 'close');
  return [stderr, status];
}

for (const [program, args] of [
  ['wormhole', 'help create'],
  ['wormhole', '--version'],
  ['wormhole', 'create --dry-run url :3306 tail url :3307'],
  ['wormholed', '--help'],
] as const) {
  test(`${program} ${args} ends quietly when its reader goes away`, async () => {
    assert.equal(await run(program, args, '| true'), ['', 0]);
  });
}

test('an error goes nowhere when nobody reads stderr, and the exit status stays', async () => {
  assert.equal(await run('wormhole', 'create url nonsense', '2>&1 | true'), ['', 2]);
});

test('output that a full disk does not take is told, with exit status 1', async () => {
  const [stderr, status] = await run('wormhole', '--version', '>/dev/full');
  assert.match(stderr, /^wormhole: cannot write to standard output \(.*ENOSPC.*\): the output is lost\n$/);
  assert.is(status, 1);
});

test.run();
