import { beginTail, type Draft, openFarChild, openLink } from './draft.js';
import { missingAfter, type Word, wrongWord } from './error.js';
import { kindOf } from './protocols.js';
import { type FarChild, isFar, type Recipe, type RecipeTail, splitEnd } from './recipe.js';
import { openPeer, type Service, tailsOfMachines } from './services.js';
import { MOST_WEIGHT } from './tails.js';

/** The tails of the link that is being read, each as a draft of its own with the head of the link. */
export interface Alternatives {
  /** The draft of the link, with its first tail, and one for each further tail. */
  drafts: [Draft, ...Draft[]];
  /** The word before each weight, for messages. */
  weighted?: Word;
}

/**
 * From here on the words are about another tail. `word` is `or`, and `next` the word after it if that is `tail` or `trigger`.
 *
 * @throws RecipeError where a link cannot have several tails
 */
export function openAlternative(
  { drafts }: Alternatives,
  { current, word, next }: { current: Draft; word: Word; next: Word | undefined },
): Draft {
  const [first] = drafts;
  const { link } = first;
  if (first.asker) throw wrongWord(word, 'a part on another machine has one tail');
  if (!current.tailWord)
    throw wrongWord(word, 'it begins another tail, and there is none yet: say tail or trigger first');
  if (link.child && !isFar(link.child))
    throw wrongWord(
      word,
      `only the link that is created has several tails, and with several it has no ${link.child.kind}: make a link of each`,
    );
  requireStreams(link, word);
  const draft = openLink(structuredClone(link.head));
  beginTail(draft, next ?? word);
  drafts.push(draft);
  return draft;
}

/**
 * From here on the words are about nothing but further tails: the machines that publish a service say the rest. `word` is the one
 * that names the kind of child.
 *
 * @throws RecipeError where a link cannot have several tails, and as openFarChild
 */
export function openService(
  { drafts }: Alternatives,
  { current, kind, service, word }: { current: Draft; kind: FarChild['kind']; service: Service; word: Word },
): Draft {
  const [first] = drafts;
  const { name } = service;
  const text = openPeer(name);
  if (first.asker)
    throw wrongWord(word, `a part on another machine has one tail, and ${text} one for each of its machines`);
  if (current !== drafts.at(-1))
    throw wrongWord(word, `only the link that is created can have several tails, as ${text} has`);
  if (drafts.some(({ link }) => link.child && isFar(link.child) && link.child.service === name))
    throw wrongWord(word, `${text} is there already`);
  requireStreams(first.link, word);
  const child = openFarChild(current, { kind, peer: text, service: name }, word);
  child.service = service;
  child.tailWord = word;
  current.service = service;
  return child;
}

/** A client of a datagram head has no connection that could be handed over, and one of messages none that a tail of TCP takes. */
function requireStreams({ head }: Recipe, word: Word): void {
  const other = splitEnd(head).find(({ protocol }) => kindOf(protocol) !== 'stream');
  if (other)
    throw wrongWord(
      word,
      `a ${other.protocol} head has one tail; several are for heads of tcp:// and unix://: make a link of each`,
    );
}

/** Sets the weight of the tail that was begun last. @throws RecipeError */
export function setWeight(alternatives: Alternatives, { word, value }: { word: Word; value: Word }): void {
  const link = alternatives.drafts.at(-1)?.link;
  if (!link || !alternatives.drafts.at(-1)?.tailWord)
    throw wrongWord(word, 'it is that of a tail, and there is none yet: say tail or trigger first');
  const weight = Number(value.text);
  if (!/^[0-9]+$/.test(value.text) || weight < 1 || weight > MOST_WEIGHT)
    throw wrongWord(value, `a weight is a whole number from 1 to ${MOST_WEIGHT}`);
  if (link.weight !== undefined) throw wrongWord(word, `the weight is already ${link.weight}`);
  link.weight = weight;
  alternatives.weighted = word;
}

/** The recipe of a link with all its tails. @throws RecipeError */
export function joinAlternatives({ drafts, weighted }: Alternatives): Recipe {
  const [{ link }] = drafts;
  if (drafts.length === 1 && !drafts[0].service) {
    if (!weighted) return link;
    throw wrongWord(weighted, 'a weight is for a link with several tails: or begins another one');
  }
  const { tail: _, child: __, weight: ___, ...rest } = link;
  return { ...rest, trigger: false, tails: drafts.flatMap(tailsOf) };
}

function tailsOf({ link, service }: Draft): RecipeTail[] {
  const tail = asTail(link);
  return service?.machines ? tailsOfMachines(tail, service.machines) : [tail];
}

function asTail({ tail, trigger, child, weight }: Recipe & { weight?: number }): RecipeTail {
  if (child && !isFar(child)) throw new Error('a link with several tails has a child');
  return {
    ...(tail && { tail }),
    trigger,
    ...(child && { child }),
    ...(weight !== undefined && weight !== 1 && { weight }),
  };
}

/** Makes sure that a word is not one about the head, which stands before all tails. @throws RecipeError */
export function requireFirstTail({ drafts }: Alternatives, current: Draft, word: Word): void {
  if (drafts.length > 1 && drafts.at(-1) === current)
    throw wrongWord(word, `it is about the whole link: say ${word.text} before the first tail`);
}

/** Makes sure that a link which is to have a child has one tail; a part on another machine may have one. @throws RecipeError */
export function requireOneTail({ drafts }: Alternatives, current: Draft, word: Word): void {
  if (drafts.length > 1 && drafts.at(-1) === current)
    throw wrongWord(word, `a link with several tails has no ${word.text}: make a link of each`);
}

/** Makes sure that a tail is there before the next one begins, or the recipe ends. @throws RecipeError */
export function requireTail(draft: Draft, last: Word): void {
  if (!draft.tailWord)
    throw missingAfter(
      last,
      'the link has no tail; say where it connects to, with tail, trigger, chain, remote…',
    );
}
