import { requestDeletion } from '../api/request-deletion.js';
import { forgetDeletion, type TunnelDeletion } from '../state/pending-deletions.js';
import { readTunnels } from '../state/tunnels.js';
import { stopStrayUnits } from './unit.js';

/**
 * Tells another machine that it may remove its side of a tunnel.
 *
 * @returns undefined when that is done, and the deletion forgotten; else why it could not be done, for people
 */
export async function carryOutTunnelDeletion(deletion: TunnelDeletion): Promise<string | undefined> {
  // The command that deleted it here may have been killed, and the other machine may never be reached again.
  await stopStrayUnits();
  const reason = isInUse(deletion) ? undefined : await requestDeletion(deletion);
  if (reason !== undefined) return reason;
  forgetDeletion(deletion);
  return undefined;
}

/** A delete that was killed before its first step has left the tunnel. */
function isInUse({ tunnel }: TunnelDeletion): boolean {
  return readTunnels().tunnels.some(({ id }) => id === tunnel.id);
}
