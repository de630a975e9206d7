import type { SocketListener } from '../systemd/systemd.js';
import { socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import type { Check, Facts } from './facts.js';
import type { Finding } from './finding.js';
import { areInConflict, listenersOfLink } from './socket-addresses.js';

/** A socket unit that is no link's. */
export interface ForeignSocket {
  unit: string;
  listeners: SocketListener[];
}

/** Sockets of others that the next boot opens where a link listens: the one that comes second fails. */
export const portsCheck: Check = {
  name: 'ports',
  async find(facts) {
    const ours = facts.links.filter(({ id, link }) => facts.open.has(id) && link.head.place.kind === 'host');
    if (ours.length === 0) return [];
    return conflicts(ours, await foreignSockets(facts));
  },
};

/** Where links and sockets of others listen on the same address. */
export function conflicts(links: PlannedLink[], sockets: ForeignSocket[]): Omit<Finding, 'check'>[] {
  return links.flatMap((link) =>
    sockets.flatMap(({ unit, listeners }) => {
      const own = listenersOfLink(link).find((one) => listeners.some((other) => areInConflict(one, other)));
      if (!own) return [];
      return [
        {
          subject: socketUnit(link.id),
          problem: `${unit} is enabled too and listens on the same address, ${own.address}: at the next boot, one of them fails`,
          advice: `systemctl disable ${unit}, or take another port: wormhole edit ${link.root}`,
        },
      ];
    }),
  );
}

async function foreignSockets({ systemd, links }: Facts): Promise<ForeignSocket[]> {
  const own = new Set(links.map(({ id }) => socketUnit(id)));
  const names = (await systemd.enabled(['*.socket'])).filter(
    (unit) => !own.has(unit) && !unit.includes('@.'),
  );
  return Promise.all(names.map(async (unit) => ({ unit, listeners: await systemd.listeners(unit) })));
}
