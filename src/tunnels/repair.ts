import { withLock } from '../state/lock.js';
import { releasedDeletions, startPendingDeletions } from '../state/pending-deletions.js';
import { readTunnels } from '../state/tunnels.js';
import { withSystemd } from '../systemd/systemd.js';
import { rekeyUnits, tunnelUnit } from '../units/tunnel.js';
import { sweep } from './kernel.js';
import { endInitiating, interruptedInitiations } from './negotiation.js';
import { stopStrayUnits } from './unit.js';

/**
 * Repairs what killed commands have left: removes what belongs to no tunnel, checks tunnels that were being negotiated together
 * with the other machine, and deletes one that was being deleted there too. Units do the latter two, and are not awaited.
 *
 * @throws IpError
 */
export async function repairTunnels(): Promise<void> {
  await stopStrayUnits();
  const interrupted = await withLock('tunnels', async () => {
    await sweep();
    const machines = interruptedInitiations();
    for (const machine of machines) endInitiating(machine);
    return readTunnels().tunnels.filter(({ machine }) => machines.includes(machine));
  });
  if (interrupted.length === 0 && releasedDeletions().length === 0) return;
  await withSystemd(async (systemd) => {
    if (interrupted.length > 0) await systemd.reloadAll();
    for (const { peer } of interrupted) {
      await systemd.queue(tunnelUnit(peer));
      await systemd.queue(rekeyUnits(peer).service);
    }
    await startPendingDeletions(systemd);
  });
}
