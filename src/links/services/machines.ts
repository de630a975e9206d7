import { RecipeError } from '../../recipe/error.js';
import type { Recipe } from '../../recipe/recipe.js';
import {
  isOpenService,
  machinesOf,
  openPeer,
  type ServiceMachine,
  servicesOf,
  withMachines,
} from '../../recipe/services.js';
import { lookUpService } from '../../registry/look-up.js';
import { readLinks } from '../../state/links.js';
import type { PlannedLink } from '../../units/plan.js';

/**
 * A recipe with a tail for each machine that publishes one of its services, as the registries name them now.
 *
 * @throws RecipeError when the recipe has machines already, which only units have; NoMachine
 */
export async function lookUpMachines(recipe: Recipe): Promise<Recipe> {
  for (const tail of recipe.tails ?? []) {
    const name = tail.child?.service;
    if (name !== undefined && !isOpenService(tail))
      throw new RecipeError(`${openPeer(name)} is looked up: leave out what stands behind @`);
  }
  const names = servicesOf(recipe);
  if (names.length === 0) return recipe;
  const links = linksWithServices();
  const found = new Map<string, ServiceMachine[]>();
  for (const name of names) found.set(name, (await lookUpService(name, knownMachines(name, links))).machines);
  return withMachines(recipe, found);
}

/** The links of this machine that lead to services. */
export function linksWithServices(): PlannedLink[] {
  return readLinks().links.filter(({ id, root, link }) => id === root && servicesOf(link).length > 0);
}

/** The machines of a service that links have: the last ones that a registry has named. */
export function knownMachines(name: string, links: PlannedLink[]): ServiceMachine[] {
  for (const { link } of links) {
    const machines = machinesOf(link.tails ?? [], name).filter(({ leaving }) => !leaving);
    if (machines.length > 0) return machines;
  }
  return [];
}
