import { carryOutDeletion } from '../links/remote/carry-out-deletion.js';
import { type PendingDeletion, releasedDeletions } from '../state/pending-deletions.js';
import { carryOutTunnelDeletion } from '../tunnels/carry-out-deletion.js';
import type { Check } from './facts.js';

/** What another machine has of deleted links and tunnels, and has not been told yet. */
export const deletionsCheck: Check = {
  name: 'deletions',
  async find() {
    return releasedDeletions().map((deletion) => ({
      subject: subjectOf(deletion),
      problem: `machine ${deletion.peer} has it until it can be told`,
      advice: `wormhole ping ${deletion.peer} says why it cannot; it is told as soon as it answers`,
      repair: () => carryOut(deletion),
    }));
  },
};

async function carryOut(deletion: PendingDeletion): Promise<string> {
  const reason = await (deletion.kind === 'part'
    ? carryOutDeletion(deletion)
    : carryOutTunnelDeletion(deletion));
  if (reason !== undefined) throw new Error(reason);
  return `${subjectOf(deletion)}: machine ${deletion.peer} has nothing of it any more`;
}

function subjectOf(deletion: PendingDeletion): string {
  return deletion.kind === 'part'
    ? `the part of deleted link ${deletion.linkId}`
    : `deleted tunnel ${deletion.tunnel.id}`;
}
