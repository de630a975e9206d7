import { RecipeError } from '../recipe/error.js';
import { isKeyword } from '../recipe/keywords.js';
import { recipeText } from '../recipe/text.js';
import { readLinks } from '../state/links.js';
import { nonDefaultOptions, optionWords } from '../units/option-words.js';
import type { PlannedLink } from '../units/plan.js';
import { IsChild, NoSuchLink } from './delete.js';
import { Irreplaceable } from './replace.js';

/** A link as a person edits it. */
export interface EditableLink {
  /** Comments, then the options of `wormhole create`, then the recipe. */
  text: string;
  /** Returns the words of an edited text. @throws RecipeError when they are of another link */
  requireSameId(words: string[]): string[];
}

/** What a person may change of a link. @throws NoSuchLink, IsChild, Irreplaceable */
export function editableLink(id: string): EditableLink {
  const { links, unreadable } = readLinks();
  const broken = unreadable.find((other) => other.id === id);
  if (broken) throw new Irreplaceable(`link "${id}" cannot be read: ${broken.reason}`);
  const found = links.find((link) => link.id === id);
  if (!found) throw new NoSuchLink(`no link "${id}": see wormhole list`);
  if (found.parent !== undefined)
    throw new IsChild(`link "${id}" is a part of link "${found.root}": edit that one`);
  if (found.owner)
    throw new Irreplaceable(
      `link "${id}" is a part of link "${found.owner.id}" on machine ${found.owner.machine}: change that one`,
    );
  return {
    text: textOf(found),
    requireSameId(words) {
      const at = words.findIndex((word, index) => word === 'id' && isFirstLink(words, index));
      if (words[at + 1] !== id || at < 0)
        throw new RecipeError(`the recipe must keep "id ${id}": a link with another id is another link`);
      return words;
    },
  };
}

function isFirstLink(words: string[], at: number): boolean {
  const opening = ['child', 'chain', 'remote', 'tunnel', 'udptunnel'];
  return !words.slice(0, at).some((word) => opening.includes(word));
}

function textOf({ id, link, options }: PlannedLink): string {
  const lines = [
    `# Link ${id}. What is written here takes effect when the editor ends; an unchanged text changes nothing.`,
    '# First come options of wormhole create, if any, then the recipe: wormhole help create.',
    ...optionWords(nonDefaultOptions(options)),
    ...recipeLines(recipeText(link)),
  ];
  return `${lines.join('\n')}\n`;
}

/** A line for each keyword with its argument; a word in quotes is never broken. */
function recipeLines(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.match(/(?:'[^']*'|\\.|"[^"]*"|[^\s'"\\])+/g) ?? []) {
    const last = lines.at(-1);
    if (last === undefined || isKeyword(word)) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
