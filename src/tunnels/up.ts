import { withConnection } from '../api/client.js';
import { parsePeerEndpoint } from '../api/endpoint.js';
import { isDue } from '../ipsec/due.js';
import { associationsOf, readKernel } from '../ipsec/kernel.js';
import { tunnelNumber } from '../ipsec/names.js';
import { withLock } from '../state/lock.js';
import { retainedGuards } from '../state/retained-guards.js';
import { readTunnels } from '../state/tunnels.js';
import type { LogLine } from '../systemd/journal-entry.js';
import type { Tunnel } from '../units/tunnel.js';
import { tunnelOfUnit } from './find.js';
import { negotiateTunnel, TunnelUnknown } from './initiate.js';
import { addGuard, statusOf, sweep } from './kernel.js';
import { linksThrough } from './links-through.js';
import { isConsistent, requestPeerStatus } from './peer-status.js';
import { forgetProblem, recordProblem } from './problems.js';
import { installedSettings } from './settings.js';
import { removeTunnel } from './unit.js';

/**
 * Makes the kernel block clear text to and from the inner addresses of all tunnels, and of those deleted ones that links still
 * name: at boot, before there is a network.
 *
 * @throws IpError
 */
export async function guardTunnels(): Promise<void> {
  for (const { inner } of [...readTunnels().tunnels, ...retainedGuards()]) await addGuard(inner);
}

/**
 * Brings a tunnel up that has a unit, with new keys, unless it is up. Until it is, nothing passes.
 *
 * @throws NoSuchTunnel; as negotiateTunnel, which tunnel-list reports as well
 */
export async function bringUpUnit(peer: string, log: LogLine): Promise<void> {
  const tunnel = tunnelOfUnit(peer);
  await withLock('tunnels', async () => {
    await sweep();
    await addGuard(tunnel.inner);
  });
  const isUp = await statusOf(tunnel).then(
    ({ up }) => up,
    () => false,
  );
  if (!isUp) await reportingProblem(tunnel, () => renegotiate(tunnel, { fresh: false, log }));
}

/**
 * Rekeys a tunnel if its keys are old, or if the other machine does not have them any more; with `now`, in any case.
 *
 * @returns whether it was rekeyed
 * @throws NoSuchTunnel; as negotiateTunnel, which tunnel-list reports as well. The old keys stay in use then, until they expire
 *   three hours after their beginning
 */
export async function rekeyTunnel(
  peer: string,
  { now, log }: { now: boolean; log: LogLine },
): Promise<boolean> {
  const tunnel = tunnelOfUnit(peer);
  return reportingProblem(tunnel, async () => {
    if (!now && !(await areKeysOld(tunnel)) && (await peerAgrees(tunnel))) return false;
    await renegotiate(tunnel, { fresh: true, log });
    return true;
  });
}

/** Records for tunnel-list why `work` fails, or that it succeeds. */
async function reportingProblem<T>(tunnel: Tunnel, work: () => Promise<T>): Promise<T> {
  try {
    const result = await work();
    forgetProblem(tunnel);
    return result;
  } catch (error) {
    recordProblem(tunnel, (error as Error).message);
    throw error;
  }
}

/**
 * Negotiates a tunnel again. When the other machine does not know it any more, it is deleted here too, unless somebody has asked
 * for it here or links lead through it.
 */
async function renegotiate(tunnel: Tunnel, { fresh, log }: { fresh: boolean; log: LogLine }): Promise<void> {
  const { peer, keyFile, mode, asked } = tunnel;
  try {
    await negotiateTunnel({ peer, keyFile, mode, asked: false, fresh }, installedSettings());
  } catch (error) {
    if (!(error instanceof TunnelUnknown)) throw error;
    const users = [...new Set((await linksThrough(tunnel)).map(({ root }) => root))];
    if (asked) throw new Error(`${peer} refuses the tunnel, which was asked for here: ${error.message}`);
    if (users.length > 0)
      throw new Error(
        `${peer} has no such tunnel any more; it stays here since links use it: ${users.join(', ')}`,
      );
    log(`${peer} has no such tunnel any more, and nobody has asked for it here: it is deleted`, {
      event: 'changed',
    });
    await removeTunnel(tunnel, `machine ${peer} has no such tunnel any more`);
  }
}

/** Whether the other machine has what this one has. @throws WrongIdentity, Unreachable, Failure */
async function peerAgrees(tunnel: Tunnel): Promise<boolean> {
  const { peer, keyFile, machine: id } = tunnel;
  const machine = { endpoint: parsePeerEndpoint(peer), keyFile, id };
  return isConsistent(tunnel, await withConnection(machine, requestPeerStatus));
}

async function areKeysOld({ id, outer, asked }: Tunnel): Promise<boolean> {
  const number = tunnelNumber(id);
  const own = associationsOf(await readKernel(), number, outer);
  return isDue({ ...own, number, asked }, Date.now());
}
