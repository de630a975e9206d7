import { removeUnfinished } from '../links/unfinished.js';
import { formerLinks } from '../state/former-links.js';
import { withLock } from '../state/lock.js';
import { unfinishedIds } from '../state/unfinished.js';
import type { Check, Facts } from './facts.js';
import type { Finding } from './finding.js';

/** What killed commands have left: links that are half created, half deleted or half changed. */
export const unfinishedCheck: Check = {
  name: 'unfinished',
  async find(facts) {
    // A command that is at work has not left it.
    if (facts.isBusy) return [];
    const { ids, changed } = await withLock('links', async () => ({
      ids: unfinishedIds(),
      changed: [...formerLinks()],
    }));
    const repair = repairOf(facts);
    return [
      ...ids.map((id) =>
        unfinished(id, 'half created or half deleted, by a command that was killed', repair),
      ),
      ...changed.map(([id, { removed }]) =>
        removed === undefined
          ? unfinished(id, 'half changed, by a command that was killed', repair)
          : unfinished(id, 'changed, and what it was before is not removed yet', repair),
      ),
    ];
  },
};

function unfinished(id: string, how: string, repair: Finding['repair']): Omit<Finding, 'check'> {
  return {
    subject: `link ${id}`,
    problem: `it is ${how}`,
    advice: 'the next command that changes links takes that back',
    ...(repair && { repair }),
  };
}

function repairOf({ systemd }: Facts): NonNullable<Finding['repair']> {
  return async () => {
    await withLock('links', async () => {
      const before = [...unfinishedIds(), ...formerLinks().keys()];
      const reasons: string[] = [];
      await removeUnfinished(systemd, (ids, { message }) => reasons.push(`link ${ids.at(-1)}: ${message}`));
      const left = [...unfinishedIds(), ...formerLinks().keys()].filter((id) => before.includes(id));
      if (reasons.length > 0) throw new Error(reasons.join('; '));
      if (left.length > 0)
        throw new Error(`link ${left.join(', ')} waits for the Docker engine: start it first`);
    });
    return 'took back what killed commands had left';
  };
}
