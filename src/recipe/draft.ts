import { defaultTail, farHead, localHead } from './defaults.js';
import { describePlace } from './describe.js';
import { type Word, wrongWord } from './error.js';
import type { Child, End, Kinship, Link, Place } from './link.js';

/** A link while its words are being read. */
export interface Draft {
  link: Link;
  /** The end that the words are about: the head, and the tail once `tailWord` is there. */
  end: End;
  /** What the words have set of `end`; the rest of it is defaults. */
  said: Set<keyof End>;
  /** The word that began the tail: `tail`, `trigger`, or one that began a child. */
  tailWord?: Word;
  /** For a far child, what it borrows from the machine that asks for it. */
  lender?: { port: number | undefined };
}

/** A link whose head is at its defaults, and of which nothing is said yet. */
export function openLink(head: End, lender?: Draft['lender']): Draft {
  const draft: Draft = { link: { head, trigger: false }, end: head, said: new Set() };
  if (lender) draft.lender = lender;
  return draft;
}

/**
 * From here on the words are about the tail. `word` is `tail` or `trigger`.
 *
 * Throws a RecipeError when they already are.
 */
export function beginTail(draft: Draft, word: Word): void {
  if (draft.tailWord) {
    const { text, position } = draft.tailWord;
    throw wrongWord(word, `the tail already began with "${text}", word ${position}`);
  }
  draft.tailWord = word;
  draft.link.trigger = word.text === 'trigger';
  draft.link.tail = draft.end = defaultTail(draft.link.head, tailPort(draft));
  draft.said = new Set();
}

/**
 * From here on the words are about a child on the same machine, whose head starts as our tail. `word` is `child` or
 * `chain`.
 *
 * Throws a RecipeError for a `child` of a link that has no tail.
 */
export function openLocalChild(draft: Draft, kinship: 'child' | 'chain', word: Word): Draft {
  const { link } = draft;
  if (kinship === 'child' && !link.tail) {
    throw wrongWord(
      word,
      'the link has no tail yet; say tail or trigger first, or chain for the child to be it',
    );
  }
  const child = openLink(localHead(link.tail ?? defaultTail(link.head, tailPort(draft))));
  return adopt(draft, child, { kinship, link: child.link }, word);
}

/**
 * From here on the words are about a child on the machine `peer`. `word` is the one that said so.
 *
 * Throws a RecipeError when something was said of our tail, since the child's head is to be it.
 */
export function openFarChild(
  draft: Draft,
  kinship: Exclude<Kinship, 'child' | 'chain'>,
  peer: string,
  word: Word,
): Draft {
  const { link } = draft;
  if (link.tail && draft.said.size > 0) {
    throw wrongWord(
      word,
      `the head on ${peer} is the tail of this link; describe it after ${kinship} ${peer}`,
    );
  }
  const child = openLink(farHead(link.head), { port: link.head.port ?? tailPort(draft) });
  return adopt(draft, child, { kinship, peer, link: child.link }, word);
}

/**
 * Says one thing of the current end. `word` is the keyword it came with.
 *
 * Throws a RecipeError when the recipe has said that thing of this end before.
 */
export function say<K extends keyof End>(draft: Draft, key: K, value: End[K], word: Word): void {
  if (draft.said.has(key)) throw wrongWord(word, alreadySaid(draft.end, key));
  draft.said.add(key);
  draft.end[key] = value;
}

function adopt(draft: Draft, child: Draft, bond: Child, word: Word): Draft {
  // Every kinship but this one puts the child's head in the place of our tail.
  if (bond.kinship !== 'child') delete draft.link.tail;
  draft.link.child = bond;
  draft.tailWord ??= word;
  return child;
}

/** The port of a tail that says none: our head's, or for a far child that of the head nearest on the way to it. */
function tailPort(draft: Draft): number | undefined {
  return draft.lender ? draft.lender.port : draft.link.head.port;
}

function alreadySaid(end: End, key: keyof End): string {
  if (key === 'place') return `the end already lives in ${placeSaid(end.place)}; an end lives in one place`;
  return `the ${key} is already ${end[key]}; an end has one ${key}`;
}

function placeSaid(place: Place): string {
  return place.kind === 'host' ? "this host's netns" : describePlace(place);
}
