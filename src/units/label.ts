import { RecipeError } from '../recipe/error.js';
import { isKeyword } from '../recipe/keywords.js';
import { parseRecipe } from '../recipe/parse.js';
import { isUnix, type Recipe, type RecipeEnd, splitEnd } from '../recipe/recipe.js';
import { hostPort, unmapIPv4 } from '../text/ip-address.js';
import { quoted } from '../text/quote.js';
import { allowsAddress, allowsPort, describePorts, type LabelPolicy } from './labels-config.js';
import { splitWords, WordFault } from './words.js';

/** What all labels of Wormhole begin with. */
export const LABEL_PREFIX = 'wormhole.';

/** A label that asks for no link, or for one that it may not have. The message is one line. */
export class RefusedLabel extends Error {}

/** A link that a label asks for. */
export interface LabelledLink {
  /** `CONTAINER.NAME`. */
  id: string;
  recipe: Recipe & { id: string };
}

/** What a label is read with. */
export interface LabelContext {
  /** The name of the container that has it. */
  container: string;
  policy: LabelPolicy;
  /** The name of the container that a label means by a name. @throws Error when there is none, or it may not be led to */
  resolve: (name: string) => string;
}

/** The words that a label may use. All others act on more than the containers that it names, or on this host. */
const WORDS = ['url', 'tail', 'docker-ns', 'or', 'weight'];

const MAX_LENGTH = 1_000;

const KINDS = { 'wormhole.link.': readLink, 'wormhole.expose.': readExpose };

/**
 * Reads a label: `wormhole.link.NAME` with the recipe of a link whose head is in the container itself, or `wormhole.expose.NAME`
 * with one whose tail is.
 *
 * @throws RefusedLabel; what `resolve` throws
 */
export function readLabel(
  { key, value }: { key: string; value: string },
  context: LabelContext,
): LabelledLink {
  const kind = Object.entries(KINDS).find(([prefix]) => key.startsWith(prefix));
  if (!kind)
    throw new RefusedLabel(
      'there is no such label of Wormhole; there are wormhole.link.NAME and wormhole.expose.NAME',
    );
  const [prefix, read] = kind;
  const name = key.slice(prefix.length);
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$/.test(name))
    throw new RefusedLabel(
      `the name ${quoted(name.slice(0, 50))} is not 1 to 40 letters, digits, "_" and "-" that begin with a letter or digit`,
    );
  const id = `${context.container}.${name}`;
  const words = wordsOf(value);
  try {
    return { id, recipe: { ...read(words, context, id), id } };
  } catch (error) {
    if (!(error instanceof RecipeError)) throw error;
    throw new RefusedLabel(withoutPositions(error.message));
  }
}

function wordsOf(value: string): string[] {
  if (value.length > MAX_LENGTH) throw new RefusedLabel(`its value is longer than ${MAX_LENGTH} characters`);
  try {
    const words = splitWords(value).map(({ text }) => text);
    const other = words.find((word) => isKeyword(word) && !WORDS.includes(word));
    if (other !== undefined)
      throw new RefusedLabel(`a label cannot say "${other}"; the words for it are ${WORDS.join(', ')}`);
    return words;
  } catch (error) {
    if (error instanceof WordFault) throw new RefusedLabel(error.message);
    throw error;
  }
}

/** The head is in the container, whose place is said for it. */
function readLink(words: string[], { container, resolve }: LabelContext, id: string): Recipe {
  const [head, tail] = splitAtTail(words);
  if (head.includes('docker-ns'))
    throw new RefusedLabel(
      'the head is in the container that has the label: leave out docker-ns before tail',
    );
  if (tail.length === 0) throw new RefusedLabel('the tail is missing, such as url :3306 tail docker-ns db');
  const recipe = parseRecipe([
    'id',
    id,
    ...head,
    'docker-ns',
    asArgument(container),
    ...resolved(tail, resolve),
  ]);
  for (const end of splitEnd(recipe.head)) {
    requirePlace(end, 'container');
    requirePort(end);
  }
  for (const { tail: end } of recipe.tails ?? [recipe]) {
    if (!end) throw new RefusedLabel('each tail of a label is docker-ns and the name of a container');
    requireTail(end);
  }
  return requireAllowed(recipe);
}

/** The tail is in the container; the head is on this host, as far as its administrator permits. */
function readExpose(words: string[], { container, policy }: LabelContext, id: string): Recipe {
  const [head, tail] = splitAtTail(words);
  if (words.includes('docker-ns'))
    throw new RefusedLabel(
      'the head is on this host, and the tail in the container that has the label: leave out docker-ns',
    );
  const recipe = parseRecipe([
    ...['id', id, ...head],
    ...(tail.length > 0 ? tail : ['tail']),
    ...['docker-ns', asArgument(container)],
  ]);
  if (!recipe.tail || recipe.tails)
    throw new RefusedLabel('there is one tail, which is in the container: leave out or');
  for (const end of splitEnd(recipe.head)) {
    requirePlace(end, 'host');
    requirePort(end);
    if (isUnix(end) || end.host === undefined || end.port === undefined)
      throw new RefusedLabel('the head is a port of this host, such as url 0.0.0.0:8080');
    const where = '/etc/wormhole/labels.conf';
    if (!allowsAddress(policy, unmapIPv4(end.host)))
      throw new RefusedLabel(
        `${hostPort(end.host, end.port)}: the address is not one of ExposeAddresses= of ${where}: ${policy.addresses.join(' ') || 'none'}`,
      );
    if (!allowsPort(policy, end.port))
      throw new RefusedLabel(
        `${hostPort(end.host, end.port)}: the port is not one of ExposePorts= of ${where}: ${describePorts(policy)}`,
      );
  }
  requireTail(recipe.tail);
  return requireAllowed(recipe);
}

function splitAtTail(words: string[]): [string[], string[]] {
  const at = words.indexOf('tail');
  return at < 0 ? [words, []] : [words.slice(0, at), words.slice(at)];
}

/** Replaces the names after docker-ns by those of the containers that they mean. */
function resolved(words: string[], resolve: LabelContext['resolve']): string[] {
  return words.map((word, at) => {
    if (word === 'docker-ns') {
      const next = words[at + 1];
      if (next === undefined || isKeyword(next))
        throw new RefusedLabel(
          'docker-ns needs the name of a container: a label leads to no port of this host',
        );
    }
    return words[at - 1] === 'docker-ns' ? asArgument(resolve(word.replace(/^\//, ''))) : word;
  });
}

function asArgument(container: string): string {
  return isKeyword(container) ? `/${container}` : container;
}

/** A tail is in a container, and what listens there is reached in its own namespace alone, not by its networks. */
function requireTail(tail: RecipeEnd): void {
  for (const end of splitEnd(tail)) {
    requirePlace(end, 'container');
    if (isUnix(end)) continue;
    const host = unmapIPv4(end.host ?? '');
    if (!/^127\.|^0\.0\.0\.0$|^::1?$/.test(host))
      throw new RefusedLabel(
        `the tail ${quoted(host)} may be anywhere in the networks of that container: leave the address out, such as url :80`,
      );
  }
}

function requirePlace(end: RecipeEnd, kind: 'host' | 'container'): void {
  if (end.place.kind === 'netns') throw new RefusedLabel('a label cannot name a network namespace');
  if (end.place.kind !== kind)
    throw new RefusedLabel(
      kind === 'container'
        ? 'each tail of a label is docker-ns and the name of a container'
        : 'the head is a port of this host, such as url 0.0.0.0:8080',
    );
}

function requirePort(end: RecipeEnd): void {
  if (!isUnix(end) && end.port === undefined)
    throw new RefusedLabel('the head needs a port, such as url :3306');
}

/** What the words alone have refused already. */
function requireAllowed(recipe: Recipe): Recipe {
  if (
    recipe.child ||
    recipe.trigger ||
    recipe.idle !== undefined ||
    recipe.tails?.some(({ child, trigger }) => child || trigger)
  )
    throw new RefusedLabel('a label makes links between containers that run, and nothing else');
  return recipe;
}

/** The positions count words that are not in the label. */
function withoutPositions(message: string): string {
  return message.replace(/^word \d+[,:] /, '').replace(/ \(word \d+\)/, '');
}
