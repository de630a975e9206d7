import { countersOf } from '../links/list.js';
import { address } from '../recipe/describe.js';
import { namedTailOf } from '../recipe/link.js';
import { knownNameOf } from '../state/name-file.js';
import { describeTime } from '../text/time.js';
import type { Check } from './facts.js';

/** Links that have served none of their last clients, and links to names without an address. */
export const clientsCheck: Check = {
  name: 'clients',
  async find({ links }) {
    return links.flatMap((planned) => {
      const { id, root, link } = planned;
      const named = namedTailOf(link);
      const known = named && knownNameOf(id, address(named));
      if (known?.addresses.length === 0)
        return [
          {
            subject: `link ${id}`,
            problem: `its tail has no address: ${known.problem ?? 'the name is not looked up yet'}`,
            advice: `correct the name (wormhole edit ${root}), or its record; the link follows by itself`,
          },
        ];
      const failing = countersOf(planned)?.failing;
      if (!failing) return [];
      const count = failing.count === 1 ? 'its last client was' : `its last ${failing.count} clients were`;
      return [
        {
          subject: `link ${id}`,
          problem: `${count} closed since ${describeTime(failing.since)}: ${failing.reason}`,
          advice: `start the target, or correct the recipe (wormhole edit ${root}); wormhole doctor --link ${root} tries each hop`,
        },
      ];
    });
  },
};
