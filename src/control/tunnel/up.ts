import { isDue } from '../../ipsec/due.js';
import { associationsOf, readKernel } from '../../ipsec/kernel.js';
import { tunnelNumber } from '../../ipsec/names.js';
import { type Tunnel, tunnelUnit } from '../../units/tunnel.js';
import { parseMachine } from '../api/address.js';
import { withLine } from '../api/client.js';
import { withLock } from '../lock.js';
import { askForTunnel, TunnelUnknown } from './ask.js';
import { greet, isWell } from './greet.js';
import { block, conditionOf, sweep } from './raise.js';
import { installedSettings } from './settings.js';
import { readTunnels } from './tunnels.js';
import { removeTunnel } from './unit.js';

/** There is no tunnel to that machine. */
export class NoTunnel extends Error {}

/**
 * Has the kernel let nothing out in the clear that is for a tunnel's far address, nor anything in for its near one: at
 * boot, before there is a network.
 *
 * @throws IpError
 */
export async function guardTunnels(): Promise<void> {
  for (const tunnel of readTunnels().tunnels) await block(tunnel);
}

/**
 * Brings a tunnel up that has a unit, unless it is: with new keys, as every time.
 *
 * @param say takes one line for the journal about what people may want to know
 * @throws as askForTunnel; until it works, nothing passes
 */
export async function bringUp(peer: string, say: (line: string) => void): Promise<void> {
  const tunnel = ofUnit(peer);
  await withLock('tunnels', async () => {
    await sweep();
    await block(tunnel);
  });
  if (
    await conditionOf(tunnel).then(
      ({ up }) => up,
      () => false,
    )
  )
    return;
  await renew(tunnel, false, say);
}

/**
 * Renews the keys of a tunnel if they are old, or if the other machine does not have them any more.
 *
 * @param now whatever their age
 * @returns whether it has renewed them
 * @throws as askForTunnel; the old keys stay in use then, until they end by themselves three hours after their beginning
 */
export async function rekeyTunnel(peer: string, now: boolean, say: (line: string) => void): Promise<boolean> {
  const tunnel = ofUnit(peer);
  if (!now && !(await areOld(tunnel)) && (await check(tunnel))) return false;
  await renew(tunnel, true, say);
  return true;
}

async function renew(tunnel: Tunnel, fresh: boolean, say: (line: string) => void): Promise<void> {
  const { peer, keyFile, mode } = tunnel;
  try {
    await askForTunnel({ peer, keyFile, mode, asked: false, fresh }, installedSettings());
  } catch (error) {
    if (!(error instanceof TunnelUnknown)) throw error;
    say(`${peer} has no such tunnel any more, and nobody has asked for it here: it is deleted`);
    await removeTunnel(tunnel);
  }
}

/** Whether the other machine has what this one has. @throws Unreachable, Failure */
async function check(tunnel: Tunnel): Promise<boolean> {
  const machine = { address: parseMachine(tunnel.peer), keyFile: tunnel.keyFile };
  return isWell(tunnel, await withLine(machine, greet));
}

async function areOld({ id, me, peerAddress, asked }: Tunnel): Promise<boolean> {
  const number = tunnelNumber(id);
  const own = associationsOf(await readKernel(), number, { me, peer: peerAddress });
  return isDue({ ...own, number, asked }, Date.now());
}

function ofUnit(peer: string): Tunnel {
  const tunnel = readTunnels().tunnels.find((known) => tunnelUnit(known.peer) === tunnelUnit(peer));
  if (!tunnel) throw new NoTunnel(`no tunnel to "${peer}": see wormhole tunnel-list`);
  return tunnel;
}
