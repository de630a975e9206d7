import { endUrl } from './describe.js';
import { formatDuration } from './duration.js';
import { isKeyword } from './keywords.js';
import type { End, Link, Place } from './link.js';

/**
 * The words of a recipe in their canonical form: `parseRecipe` of them is the same link. Protocol, host and port are
 * explicit, id and idle come first in their link, what is unset is left out:
 *
 *     id db url tcp://127.0.0.1:3306 docker-ns app tail url tcp://127.0.0.1:3306 docker-ns mysql
 *
 * The link of a far child alone is for `parseFarRecipe`: `parseRecipe` would have its head on 127.0.0.1.
 */
export function formatRecipe(recipe: Link): string[] {
  const words: string[] = [];
  let here: Place = { kind: 'host' };
  for (let link: Link | undefined = recipe; link; link = link.child?.link) {
    const { id, idle, head, tail, trigger, child } = link;
    if (id !== undefined) words.push('id', id);
    if (idle !== undefined) words.push('idle', formatDuration(idle));
    words.push(...urlWords(head), ...placeWords(head.place, here));
    if (tail || trigger) words.push(trigger ? 'trigger' : 'tail');
    if (tail) words.push(...urlWords(tail), ...placeWords(tail.place, { kind: 'host' }));
    if (child) words.push(child.kinship, ...(child.peer === undefined ? [] : [child.peer]));
    // The head of a local child starts where our tail is.
    here = tail?.place ?? { kind: 'host' };
  }
  return words;
}

function urlWords(end: End): string[] {
  // The head of a far child, at an address and port of the far machine's choice.
  const open = end.host === undefined && end.port === undefined && end.place.kind !== 'netns';
  return open ? [] : ['url', endUrl(end)];
}

/** The words that take an end from the place where it starts to the one it has. */
function placeWords(place: Place, start: Place): string[] {
  switch (place.kind) {
    case 'host':
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
