import { withConnection } from '../api/client.js';
import { parsePeerEndpoint } from '../api/endpoint.js';
import { isDue } from '../ipsec/due.js';
import { associationsOf, readKernel } from '../ipsec/kernel.js';
import { tunnelNumber } from '../ipsec/names.js';
import { withLock } from '../state/lock.js';
import { readTunnels } from '../state/tunnels.js';
import type { Tunnel } from '../units/tunnel.js';
import { tunnelOfUnit } from './find.js';
import { negotiateTunnel, TunnelUnknown } from './initiate.js';
import { addGuard, statusOf, sweep } from './kernel.js';
import { isConsistent, requestPeerStatus } from './peer-status.js';
import { installedSettings } from './settings.js';
import { removeTunnel } from './unit.js';

/** Takes one line for the journal. */
type Log = (line: string) => void;

/**
 * Makes the kernel block clear text to and from the inner addresses of all tunnels: at boot, before there is a network.
 *
 * @throws IpError
 */
export async function guardTunnels(): Promise<void> {
  for (const { inner } of readTunnels().tunnels) await addGuard(inner);
}

/**
 * Brings a tunnel up that has a unit, with new keys, unless it is up. Until it is, nothing passes.
 *
 * @throws NoSuchTunnel; as negotiateTunnel
 */
export async function bringUpUnit(peer: string, log: Log): Promise<void> {
  const tunnel = tunnelOfUnit(peer);
  await withLock('tunnels', async () => {
    await sweep();
    await addGuard(tunnel.inner);
  });
  const isUp = await statusOf(tunnel).then(
    ({ up }) => up,
    () => false,
  );
  if (!isUp) await renegotiate(tunnel, { fresh: false, log });
}

/**
 * Rekeys a tunnel if its keys are old, or if the other machine does not have them any more; with `now`, in any case.
 *
 * @returns whether it was rekeyed
 * @throws NoSuchTunnel; as negotiateTunnel. The old keys stay in use then, until they expire three hours after their beginning
 */
export async function rekeyTunnel(peer: string, { now, log }: { now: boolean; log: Log }): Promise<boolean> {
  const tunnel = tunnelOfUnit(peer);
  if (!now && !(await areKeysOld(tunnel)) && (await peerAgrees(tunnel))) return false;
  await renegotiate(tunnel, { fresh: true, log });
  return true;
}

async function renegotiate(tunnel: Tunnel, { fresh, log }: { fresh: boolean; log: Log }): Promise<void> {
  const { peer, keyFile, mode } = tunnel;
  try {
    await negotiateTunnel({ peer, keyFile, mode, asked: false, fresh }, installedSettings());
  } catch (error) {
    if (!(error instanceof TunnelUnknown)) throw error;
    log(`${peer} has no such tunnel any more, and nobody has asked for it here: it is deleted`);
    await removeTunnel(tunnel);
  }
}

/** Whether the other machine has what this one has. @throws Unreachable, Failure */
async function peerAgrees(tunnel: Tunnel): Promise<boolean> {
  const machine = { endpoint: parsePeerEndpoint(tunnel.peer), keyFile: tunnel.keyFile };
  return isConsistent(tunnel, await withConnection(machine, requestPeerStatus));
}

async function areKeysOld({ id, outer, asked }: Tunnel): Promise<boolean> {
  const number = tunnelNumber(id);
  const own = associationsOf(await readKernel(), number, outer);
  return isDue({ ...own, number, asked }, Date.now());
}
