import { hideEnvironment } from '../../docker-run/hide-environment.js';
import { formatDuration } from '../../recipe/duration.js';
import { formatRecipe } from '../../recipe/format.js';
import { isFar, type Recipe, type RecipeEnd, type RecipeTail } from '../../recipe/recipe.js';
import type { ExtraLines } from '../../units/declaration.js';
import { nonDefaultOptions } from '../../units/option-words.js';
import type { CreateOptions } from '../../units/plan.js';
import { quoteForUnit } from '../../units/words.js';

/** A link as a file describes it. */
export interface DescribedLink {
  recipe: Recipe;
  options: CreateOptions;
  extra: ExtraLines;
}

/** Words that a line of a recipe begins with, for people. */
const OPENING = ['tail', 'trigger', 'child', 'chain', 'remote', 'tunnel', 'udptunnel', 'or'];

/** The text of the file that describes a link. The id that is left out is that of the name of the file. */
export function linkText({ recipe, options, extra }: DescribedLink, name: string): string {
  const { id, ...rest } = recipe;
  const words = formatRecipe(id === name ? rest : recipe);
  return sections([
    ['Link', [`Recipe=${recipeLines(words)}`, ...optionLines(options)]],
    ...Object.entries(extra),
  ]);
}

/** The keys of options, and how their values are written. */
const KEYS: { [name in keyof CreateOptions]-?: [key: string, write: (value: never) => string] } = {
  startTimeout: ['StartTimeout', formatDuration],
  udpTimeout: ['UdpTimeout', formatDuration],
  maxConnections: ['MaxConnections', String],
  maxPerSource: ['MaxPerSource', String],
  rate: ['Rate', String],
  idleTimeout: ['IdleTimeout', formatDuration],
  keepAlive: ['KeepAlive', formatDuration],
  proxyProtocol: ['ProxyProtocol', String],
  acceptProxyProtocol: ['AcceptProxyProtocol', String],
  socketMode: ['Mode', String],
  socketOwner: ['Owner', String],
  group: ['Group', String],
  pull: ['Pull', String],
  balance: ['Balance', String],
  check: ['Check', formatDuration],
  workers: ['Workers', String],
};

/** The settings of options that are not as they are by default. */
function optionLines(options: CreateOptions): string[] {
  const values = nonDefaultOptions(options);
  return Object.entries(KEYS).flatMap(([name, [key, write]]) => {
    const value = values[name as keyof CreateOptions];
    return value === undefined ? [] : `${key}=${write(value as never)}`;
  });
}

/** The text of the file that describes a tunnel. */
export function tunnelText({ host, mode, extra }: { host: string; mode: string; extra: ExtraLines }): string {
  const lines = [`Host=${host}`, ...(mode === 'udp' ? ['Udp=yes'] : [])];
  return sections([['Tunnel', lines], ...Object.entries(extra)]);
}

/**
 * The texts of a link as it is and as it is to be, to be compared by people, without what -e and --env of docker-run give. Where
 * that alone differs, the second one says so.
 */
export function comparableTexts(
  former: DescribedLink | undefined,
  next: DescribedLink,
  name: string,
): { former: string; next: string } {
  const hidden = linkText({ ...next, recipe: withHidden(next.recipe) }, name);
  if (!former) return { former: '', next: hidden };
  const before = linkText({ ...former, recipe: withHidden(former.recipe) }, name);
  const isHiddenChange = before === hidden && linkText(former, name) !== linkText(next, name);
  return {
    former: before,
    next: isHiddenChange ? `${hidden}# A value that -e or --env gives is another one.\n` : hidden,
  };
}

function withHidden(recipe: Recipe): Recipe {
  const { head, tail, child, tails } = recipe;
  return {
    ...recipe,
    head: hiddenEnd(head),
    ...(tail && { tail: hiddenEnd(tail) }),
    ...(child && {
      child: isFar(child)
        ? { ...child, link: withHidden(child.link) }
        : { ...child, link: withHidden(child.link) },
    }),
    ...(tails && { tails: tails.map(hiddenTail) }),
  };
}

function hiddenTail(one: RecipeTail): RecipeTail {
  const { tail, child } = one;
  return {
    ...one,
    ...(tail && { tail: hiddenEnd(tail) }),
    ...(child && { child: { ...child, link: withHidden(child.link) } }),
  };
}

function hiddenEnd(end: RecipeEnd): RecipeEnd {
  const { place } = end;
  return place.kind === 'run' ? { ...end, place: { ...place, args: hideEnvironment(place.args) } } : end;
}

function recipeLines(words: string[]): string {
  return words
    .map((word, at) => {
      const before = words[at - 1];
      const isOpening = OPENING.includes(word) && before !== 'docker-run' && before !== 'or';
      return `${isOpening ? ' \\\n       ' : at === 0 ? '' : ' '}${quoteForUnit(word)}`;
    })
    .join('');
}

function sections(all: [string, string[]][]): string {
  return all
    .filter(([, lines]) => lines.length > 0)
    .map(([name, lines]) => `[${name}]\n${lines.join('\n')}\n`)
    .join('\n');
}
