import type { Recipe, RecipeTail } from '../../recipe/recipe.js';
import { machinesOf, servicesOf, tailsOfMachines } from '../../recipe/services.js';
import { readCounters } from '../../state/counters.js';
import type { Systemd } from '../../systemd/systemd.js';
import { serviceUnit } from '../../units/names.js';
import type { PlannedLink } from '../../units/plan.js';

/**
 * A recipe that replaces a link, with those machines of its services too that publish them no more and still have sessions: they
 * get no new client, and go with their last session.
 */
export async function withDeparted(recipe: Recipe, former: PlannedLink, systemd: Systemd): Promise<Recipe> {
  const departed: RecipeTail[] = [];
  for (const tail of former.link.tails ?? []) {
    const { child, id, trigger } = tail;
    if (child?.service === undefined || !servicesOf(recipe).includes(child.service)) continue;
    const next = recipe.tails?.filter((one) => one.child?.service === child.service) ?? [];
    // Through another kind of child, it is another tail.
    if (next.some((one) => one.child?.kind !== child.kind || one.trigger !== trigger)) continue;
    if (machinesOf(next, child.service).some(({ host }) => host === child.peer)) continue;
    if (!(await hasSessions(id, systemd))) continue;
    const { port: _, ...open } = child;
    departed.push(...tailsOfMachines({ trigger, child: open }, [{ host: child.peer, leaving: true }]));
  }
  return departed.length === 0 ? recipe : { ...recipe, tails: [...(recipe.tails ?? []), ...departed] };
}

async function hasSessions(id: string, systemd: Systemd): Promise<boolean> {
  const { active } = await systemd.state(serviceUnit(id));
  return active === 'active' && (readCounters(id)?.open ?? 0) > 0;
}
