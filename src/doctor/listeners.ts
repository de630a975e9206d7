import { PlaceAbsent } from '../links/containers/namespace.js';
import { findPortHolder } from '../links/socket-tables.js';
import { describeEnd } from '../recipe/describe.js';
import { addressesOf } from '../recipe/link.js';
import { isUnix } from '../recipe/recipe.js';
import { socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import type { Check, Facts } from './facts.js';
import type { Finding } from './finding.js';

/** Whether each link listens that should: all that are enabled, and that no connection opens. */
export const listenersCheck: Check = {
  name: 'listeners',
  async find(facts) {
    const closed = facts.links.filter(({ id }) => facts.open.has(id) && isClosed(id, facts));
    const failed = facts.links.filter(
      ({ id }) => !facts.open.has(id) && facts.units.get(socketUnit(id))?.active === 'failed',
    );
    return Promise.all([...closed, ...failed].map((link) => closedLink(link, facts)));
  },
};

function isClosed(id: string, { units }: Facts): boolean {
  return ['inactive', 'failed', undefined].includes(units.get(socketUnit(id))?.active);
}

async function closedLink(planned: PlannedLink, { systemd, units }: Facts): Promise<Omit<Finding, 'check'>> {
  const { id, root, link } = planned;
  const unit = socketUnit(id);
  const holder = await holderOf(planned);
  const subject = `link ${id}`;
  if (holder !== undefined)
    return {
      subject,
      problem: `it does not listen: ${holder} has ${describeEnd(link.head)}`,
      advice: `stop that program, then systemctl start ${unit}; or take another port: wormhole edit ${root}`,
    };
  const state = units.get(unit)?.active ?? 'inactive';
  return {
    subject,
    problem: `it should listen, and ${unit} is ${state}`,
    advice: `systemctl start ${unit}; journalctl -u ${unit} says why it does not listen`,
    async repair() {
      await systemd.resetFailed(unit);
      await systemd.start(unit);
      return `${subject}: started ${unit}`;
    },
  };
}

/** The program that listens where a link should; undefined when none does, or nobody can tell. */
async function holderOf({ link: { head } }: PlannedLink): Promise<string | undefined> {
  for (const address of addressesOf(head)) {
    if (isUnix(address)) continue;
    try {
      const holder = await findPortHolder(head.place, address.protocol, address.port);
      if (holder !== undefined) return holder;
    } catch (error) {
      // Where the namespace is absent, nothing listens.
      if (!(error instanceof PlaceAbsent)) throw error;
    }
  }
  return undefined;
}
