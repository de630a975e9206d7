import { endUrls } from './describe.js';
import { formatDuration } from './duration.js';
import { isKeyword } from './keywords.js';
import { isFar, isUnix, type Recipe, type RecipeEnd, type RecipePlace, type RecipeTail } from './recipe.js';
import { formatService, machinesOf, openPeer } from './services.js';

/**
 * The words of a recipe in their canonical form: `parseRecipe` of them is the same recipe. Protocol, host and port are
 * explicit, id and idle come first in their link, what is unset is left out:
 *
 *     id db url tcp://127.0.0.1:3306 docker-ns app tail url tcp://127.0.0.1:3306 docker-ns mysql
 *
 * A service stands for its machines: `remote service:db`. The recipe of a far child alone is for `parseFarRecipe`: `parseRecipe` would have its head on 127.0.0.1.
 */
export function formatRecipe(recipe: Recipe): string[] {
  return linkWords(recipe, { kind: 'host' }, 'open');
}

/** As {@link formatRecipe}, and each service has its machines: `service:db@10.0.0.1,10.0.0.2*3`. */
export function formatWithMachines(recipe: Recipe): string[] {
  return linkWords(recipe, { kind: 'host' }, 'with machines');
}

/** How services are written. */
type ServiceForm = 'open' | 'with machines';

/** The words of a link. @param start where its head is if nothing is said */
function linkWords(recipe: Recipe, start: RecipePlace, form: ServiceForm): string[] {
  const words: string[] = [];
  let place = start;
  // Not by recursion: there may be thousands of children.
  for (let link: Recipe | undefined = recipe; link; link = link.child?.link) {
    const { id, idle, head, tails, tail } = link;
    if (id !== undefined) words.push('id', id);
    if (idle !== undefined) words.push('idle', formatDuration(idle));
    words.push(
      ...headUrls(head),
      ...placeWords(head.place, place),
      ...((tails
        ? groupServices(tails, form).flatMap((one, index) => oneOfTails(one, index, form))
        : undefined) ?? tailWords(link)),
    );
    place = startOfChild(tail);
  }
  return words;
}

/** Tails with one for each service, in the place of its machines. */
function groupServices(tails: RecipeTail[], form: ServiceForm): RecipeTail[] {
  const done: RecipeTail[] = [];
  for (const tail of tails) {
    const { child } = tail;
    if (child?.service === undefined) done.push(tail);
    else if (!done.some((one) => one.child?.service === child.service)) {
      const machines = machinesOf(tails, child.service);
      const isOpen = form === 'open' || machines.length === 0;
      const peer = isOpen ? openPeer(child.service) : formatService({ name: child.service, machines });
      done.push({ trigger: tail.trigger, child: { ...child, peer } });
    }
  }
  return done;
}

/** The words of one of several tails. */
function oneOfTails(one: RecipeTail, index: number, form: ServiceForm): string[] {
  const [first = '', ...rest] = tailWords(one);
  const begin = index === 0 ? [first] : ['or', ...(first === 'tail' ? [] : [first])];
  const child = one.child ? linkWords(one.child.link, startOfChild(one.tail), form) : [];
  return [...begin, ...rest, ...child, ...(one.weight === undefined ? [] : ['weight', `${one.weight}`])];
}

/** The words of a tail, up to those of a child. */
function tailWords({ tail, trigger, child }: Pick<Recipe, 'tail' | 'trigger' | 'child'>): string[] {
  const words: string[] = [];
  if (tail || trigger) words.push(trigger ? 'trigger' : 'tail');
  if (tail) words.push('url', tailUrl(tail), ...placeWords(tail.place, { kind: 'host' }));
  if (child) words.push(child.kind, ...(isFar(child) ? [child.peer] : []));
  return words;
}

/** The head of a local child starts where the tail of its parent is. */
function startOfChild(tail: RecipeEnd | undefined): RecipePlace {
  return tail === undefined || tail.place.kind === 'host' ? { kind: 'host' } : tail.place;
}

function headUrls(head: RecipeEnd): string[] {
  // The head of a far child, by tcp at an address and port of the far machine's choice.
  const isOpen = !isUnix(head) && head.host === undefined && head.port === undefined;
  const isDefault = isOpen && head.protocol === 'tcp' && head.also === undefined;
  if (isDefault && head.place.kind !== 'netns') return [];
  return endUrls(head).flatMap((url) => ['url', url]);
}

function tailUrl(tail: RecipeEnd): string {
  const [url = ''] = endUrls(tail);
  // One that names no protocol is reached by that of each client.
  return tail.also === undefined ? url : url.slice(`${tail.protocol}://`.length);
}

/** The words that take an end from the place where it starts to the one it has. */
function placeWords(place: RecipePlace, start: RecipePlace): string[] {
  switch (place.kind) {
    case 'host':
      if (place.unit !== undefined) return ['unit', place.unit];
      return start.kind === 'host' ? [] : ['docker-ns'];
    case 'netns':
      return [];
    case 'container':
      return ['docker-ns', isKeyword(place.name) ? `/${place.name}` : place.name];
    case 'run':
      // Said again it would read as a second container.
      return start.kind === 'run' && start.args === place.args ? [] : ['docker-run', place.args];
  }
}
