import { defaultTail, farHead, localHead } from './defaults.js';
import { describePlace } from './describe.js';
import { type Word, wrongWord } from './error.js';
import type { FarChild, LocalRecipeChild, Recipe, RecipeChild, RecipeEnd } from './recipe.js';

/** A link while its words are being read. */
export interface Draft {
  link: Recipe;
  /** The end that the words are about: the head, and the tail after `tailWord`. */
  end: RecipeEnd;
  /** The fields of `end` that words have set; the others are defaults. */
  setFields: Set<keyof RecipeEnd>;
  /** The word that began the tail: `tail`, `trigger`, or one that began a child. */
  tailWord?: Word;
  /** For a far child, what it takes from the machine that asks for it. */
  asker?: { port: number | undefined };
}

/** A link whose head has its defaults, and of which nothing is said yet. */
export function openLink(head: RecipeEnd, asker?: Draft['asker']): Draft {
  const draft: Draft = { link: { head, trigger: false }, end: head, setFields: new Set() };
  if (asker) draft.asker = asker;
  return draft;
}

/**
 * From here on the words are about the tail. `word` is `tail` or `trigger`.
 *
 * @throws RecipeError when they already are
 */
export function beginTail(draft: Draft, word: Word): void {
  if (draft.tailWord) {
    const { text, position } = draft.tailWord;
    throw wrongWord(word, `the tail already began with "${text}", word ${position}`);
  }
  draft.tailWord = word;
  draft.link.trigger = word.text === 'trigger';
  draft.link.tail = draft.end = defaultTail(draft.link.head, tailPort(draft));
  draft.setFields = new Set();
}

/**
 * From here on the words are about a child on the same machine, whose head starts as the tail of `draft`. `word` is
 * `child` or `chain`.
 *
 * @throws RecipeError for a `child` of a link that has no tail
 */
export function openLocalChild(draft: Draft, kind: LocalRecipeChild['kind'], word: Word): Draft {
  const { link } = draft;
  if (kind === 'child' && !link.tail) {
    throw wrongWord(
      word,
      'the link has no tail yet; say tail or trigger first, or chain for the child to be it',
    );
  }
  const child = openLink(localHead(link.tail ?? defaultTail(link.head, tailPort(draft))));
  return adopt(draft, child, { kind, link: child.link }, word);
}

/**
 * From here on the words are about a child on another machine. `word` is the one that said so.
 *
 * @throws RecipeError when something was said of the tail of `draft`, since the child's head is to be it
 */
export function openFarChild(draft: Draft, { kind, peer }: Omit<FarChild, 'link'>, word: Word): Draft {
  const { link } = draft;
  if (link.tail && draft.setFields.size > 0) {
    throw wrongWord(word, `the head on ${peer} is the tail of this link; describe it after ${kind} ${peer}`);
  }
  const child = openLink(farHead(link.head), { port: link.head.port ?? tailPort(draft) });
  return adopt(draft, child, { kind, peer, link: child.link }, word);
}

/**
 * Sets one field of the current end. `word` is the keyword it came with.
 *
 * @throws RecipeError when the recipe has set that field of this end before
 */
export function setField<K extends keyof RecipeEnd>(
  draft: Draft,
  key: K,
  value: RecipeEnd[K],
  word: Word,
): void {
  if (draft.setFields.has(key)) throw wrongWord(word, alreadySet(draft.end, key));
  draft.setFields.add(key);
  draft.end[key] = value;
}

function adopt(draft: Draft, childDraft: Draft, child: RecipeChild, word: Word): Draft {
  // Every kind of child but this one puts its head in the place of the tail.
  if (child.kind !== 'child') delete draft.link.tail;
  draft.link.child = child;
  draft.tailWord ??= word;
  return childDraft;
}

/** The port of a tail that says none: that of its head, or for a far child that of the head nearest on the way to it. */
function tailPort(draft: Draft): number | undefined {
  return draft.asker ? draft.asker.port : draft.link.head.port;
}

function alreadySet(end: RecipeEnd, key: keyof RecipeEnd): string {
  if (key !== 'place') return `the ${key} is already ${end[key]}; an end has one ${key}`;
  const place = end.place.kind === 'host' ? "this host's netns" : describePlace(end.place);
  return `the end already lives in ${place}; an end lives in one place`;
}
