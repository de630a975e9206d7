import { connectSystemd } from '../../systemd/systemd.js';
import { rekeyUnits, type Tunnel, tunnelUnit } from '../../units/tunnel.js';
import { withLock } from '../lock.js';
import { openDebts, remindOfDebts } from '../owed.js';
import { doneAsking, interruptedWith } from './marks.js';
import { sweep } from './raise.js';
import { readTunnels } from './tunnels.js';

/**
 * Sees to what killed commands have left: what belongs to no tunnel goes, a tunnel that was being agreed on is looked at again
 * together with the other machine, and one that was being deleted is deleted there too. The latter two are done by units,
 * and not waited for.
 *
 * @throws IpError
 */
export async function mendTunnels(): Promise<void> {
  const halfBuilt = await withLock('tunnels', async () => {
    await sweep();
    const machine = interruptedWith();
    if (machine === undefined) return undefined;
    doneAsking();
    return readTunnels().tunnels.find((tunnel) => tunnel.machine === machine);
  });
  if (!halfBuilt && openDebts().length === 0) return;
  const systemd = await connectSystemd();
  try {
    if (halfBuilt) await lookAgain(halfBuilt);
    await remindOfDebts(systemd);
  } finally {
    systemd.close();
  }

  async function lookAgain({ peer }: Tunnel): Promise<void> {
    await systemd.reloadAll();
    await systemd.queue(tunnelUnit(peer));
    await systemd.queue(rekeyUnits(peer)[1]);
  }
}
