import { join } from 'node:path';
import { build } from 'esbuild';
import * as assert from 'uvu/assert';
import type { ExchangeOptions, ExchangeResult } from '../lab/exchange.ts';
import { sessionDirectory } from '../lab/rig/session.ts';
import type { Vm } from './rig/vm.ts';
import { wormhole } from './tunnels.ts';

const [LINK, BACK, SERVER] = [3000, 4000, 4001];

/**
 * Makes a link from alpha through the tunnel to beta, and one from there through the same tunnel back to alpha: so one process has both
 * ends of a session, and every byte crosses the wire twice.
 */
export async function prepareLoad(alpha: Vm, beta: Vm): Promise<void> {
  const outfile = join(sessionDirectory, 'exchange.mjs');
  const source = new URL('../lab/exchange.ts', import.meta.url).pathname;
  await build({ entryPoints: [source], outfile, bundle: true, platform: 'node', format: 'esm' });
  await alpha.copyIn(outfile, '/root');
  await wormhole(alpha, `create id load url :${LINK} tunnel beta tail url :${BACK}`);
  await wormhole(beta, `create id back url :${BACK} tunnel alpha tail url :${SERVER}`);
}

/**
 * Plays sessions through both links, in the middle of which `disturb` happens. Every byte must arrive, in both directions of every session,
 * and each must end properly.
 */
export async function underLoad(alpha: Vm, seed: number, disturb: () => Promise<unknown>): Promise<void> {
  const options: ExchangeOptions = {
    listen: SERVER,
    link: LINK,
    sessions: 10,
    seed,
    seconds: 15,
    bytes: 60_000,
    held: true,
  };
  const exchange = alpha.spawn(['node', '/root/exchange.mjs', JSON.stringify(options)]);
  try {
    await alpha.waitFor(() => exchange.stdout().includes('running'), {
      timeout: 120,
      what: 'the sessions to run',
    });
    await disturb();
    exchange.end();
    const timer = setTimeout(() => exchange.stop(), 240_000);
    const { stdout } = await exchange.exited;
    clearTimeout(timer);
    const last = stdout.trim().split('\n').at(-1) ?? '';
    assert.ok(last.startsWith('{'), `the sessions do not end, with seed ${seed}`);
    const { ends }: ExchangeResult = JSON.parse(last);
    assert.equal(ends, { ok: 2 * options.sessions }, `with seed ${seed}`);
  } finally {
    await exchange.stop();
  }
}
