import { releasedDeletions, startPendingDeletions } from '../state/pending-deletions.js';
import type { Check } from './facts.js';
import type { Repair } from './finding.js';

/** What another machine has of deleted links and tunnels, and has not been told yet. */
export const deletionsCheck: Check = {
  name: 'deletions',
  async find({ systemd }) {
    const repair: Repair = async () => {
      await startPendingDeletions(systemd);
      return 'asked wormhole-far.service to tell other machines again what is deleted';
    };
    return releasedDeletions().map((deletion) => ({
      subject:
        deletion.kind === 'part'
          ? `the part of deleted link ${deletion.linkId}`
          : `deleted tunnel ${deletion.tunnel.id}`,
      problem: `machine ${deletion.peer} has it until it can be told`,
      advice: `wormhole ping ${deletion.peer} says why it cannot; it is told as soon as it answers`,
      repair,
    }));
  },
};
