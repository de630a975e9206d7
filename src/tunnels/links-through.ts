import { addressesOf, type End, farChildOf, localTailOf } from '../recipe/link.js';
import { isUnix } from '../recipe/recipe.js';
import { readFarAddress, writeFarAddress } from '../state/far-address.js';
import { readLinks } from '../state/links.js';
import type { Systemd } from '../systemd/systemd.js';
import { serviceUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import type { Tunnel } from '../units/tunnel.js';
import { findTunnel } from './find.js';

/**
 * The links that lead through a tunnel: those created here, the parts of links at its other end, and those whose recipe has the
 * address of either end in it. In a link with children, the one that has its head or its tail in the tunnel; its `root` is what
 * people delete.
 */
export async function linksThrough(tunnel: Tunnel): Promise<PlannedLink[]> {
  const users: PlannedLink[] = [];
  for (const planned of readLinks().links)
    if (isAt(planned.link.head, tunnel.inner.local) || (await dials(planned, tunnel))) users.push(planned);
  return users;
}

/**
 * Makes links lead nowhere whose tunnel is about to be deleted: their forwarders end, with their sessions, and have no address to
 * connect to.
 *
 * @param reason why, for those who use the link
 * @throws JobError
 */
export async function disconnectLinks(users: PlannedLink[], reason: string, systemd: Systemd): Promise<void> {
  for (const { id, link } of users) {
    if (farChildOf(link)) writeFarAddress(id, { failure: reason });
    await systemd.stop(serviceUnit(id));
  }
}

async function dials({ id, link }: PlannedLink, tunnel: Tunnel): Promise<boolean> {
  const tail = localTailOf(link);
  if (tail && isAt(tail, tunnel.inner.remote)) return true;
  const far = farChildOf(link);
  if (!far) return false;
  const known = readFarAddress(id);
  if (known && 'address' in known && known.address.startsWith(`${tunnel.inner.remote}:`)) return true;
  return far.kind !== 'remote' && (await findTunnel(far.peer))?.id === tunnel.id;
}

/** Whether an end has an address with that host. */
function isAt(end: End, host: string): boolean {
  return addressesOf(end).some((one) => !isUnix(one) && one.host === host);
}
