import { chooseInnerAddresses, isFree, type Occupied } from '../ipsec/inner-addresses.js';
import { occupied } from '../ipsec/kernel.js';
import { retainedGuards } from '../state/retained-guards.js';
import { readTunnels } from '../state/tunnels.js';
import type { AddressPair } from '../text/ip-address.js';
import { openAnswers } from './negotiation.js';

/**
 * The pairs of inner addresses that can be offered to a machine for a new tunnel. The first is that of a deleted tunnel with it
 * which links still name, if there is one.
 *
 * @throws Error when none is free; IpError
 */
export async function offeredAddresses(machine: string, overlay: string): Promise<AddressPair[]> {
  const taken = await takenBesides(machine);
  const former = retainedGuards().flatMap((guard) => (guard.machine === machine ? guard.inner : []));
  const free = [
    ...former.filter((pair) => isFree(pair, overlay, taken)),
    ...chooseInnerAddresses(overlay, taken),
  ];
  if (free.length > 0) return free;
  throw new Error(`no address for a tunnel is free in ${overlay}: give wormholed another network with -C`);
}

/** Whether a new tunnel with a machine can have these inner addresses here. @throws IpError */
export async function isFreeHere(pair: AddressPair, machine: string, overlay: string): Promise<boolean> {
  return isFree(pair, overlay, await takenBesides(machine));
}

/** What is in use here: by the kernel, and by the tunnels with other machines, whether they are up, down or deleted. */
async function takenBesides(machine: string): Promise<Occupied> {
  const { addresses, networks } = await occupied();
  const others = [
    ...readTunnels().tunnels,
    ...openAnswers().map(({ tunnel }) => tunnel),
    ...retainedGuards(),
  ].filter((other) => other.machine !== machine);
  const inner = others.flatMap(({ inner: { local, remote } }) => [local, remote]);
  return { addresses: new Set([...addresses, ...inner]), networks };
}
