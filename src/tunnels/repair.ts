import { withLock } from '../state/lock.js';
import { releasedDeletions, startPendingDeletions } from '../state/pending-deletions.js';
import { readTunnels } from '../state/tunnels.js';
import { withSystemd } from '../systemd/systemd.js';
import { rekeyUnits, tunnelUnit } from '../units/tunnel.js';
import { sweep } from './kernel.js';
import { endInitiating, interruptedWith } from './negotiation.js';

/**
 * Repairs what killed commands have left: removes what belongs to no tunnel, checks a tunnel that was being negotiated together
 * with the other machine, and deletes one that was being deleted there too. Units do the latter two, and are not awaited.
 *
 * @throws IpError
 */
export async function repairTunnels(): Promise<void> {
  const interrupted = await withLock('tunnels', async () => {
    await sweep();
    const machine = interruptedWith();
    if (machine === undefined) return undefined;
    endInitiating();
    return readTunnels().tunnels.find((tunnel) => tunnel.machine === machine);
  });
  if (!interrupted && releasedDeletions().length === 0) return;
  await withSystemd(async (systemd) => {
    if (interrupted) {
      await systemd.reloadAll();
      await systemd.queue(tunnelUnit(interrupted.peer));
      await systemd.queue(rekeyUnits(interrupted.peer).service);
    }
    await startPendingDeletions(systemd);
  });
}
