import { parseMachine } from './api/address.js';
import { removePartAt, removeTunnelAt } from './api/client.js';
import { Failure } from './api/failure.js';
import { readLinks } from './links.js';
import { cross, type Debt, isTunnels } from './owed.js';
import { readTunnels } from './tunnel/tunnels.js';
import { stopStrays } from './tunnel/unit.js';
import { unfinishedIds } from './unfinished.js';

/**
 * Tells the machine that it may remove what it has.
 *
 * @returns undefined when that is removed, and the debt with it; else the reason why it could not be told, for people
 */
export async function pay(debt: Debt): Promise<string | undefined> {
  if (!isAlive(debt)) {
    try {
      const machine = { address: parseMachine(debt.peer), keyFile: debt.keyFile };
      await (isTunnels(debt) ? removeTunnelAt : removePartAt)(machine, debt.key);
    } catch (error) {
      if (!(error instanceof Failure && error.code === 'not-found')) return (error as Error).message;
      if (Date.now() < debt.until)
        return `machine ${debt.peer} may yet get a request that was lost on the way`;
    }
  }
  if (isTunnels(debt)) await stopStrays();
  cross(debt);
  return undefined;
}

/** A create that was killed when all but the debt was done has left a link that is well, a delete before its time a tunnel. */
function isAlive(debt: Debt): boolean {
  const { key } = debt;
  if (isTunnels(debt)) return readTunnels().tunnels.some(({ id }) => id === key);
  const unfinished = new Set(unfinishedIds());
  return readLinks().links.some(
    ({ id, root, far }) => id === root && far?.key === key && !unfinished.has(id),
  );
}
