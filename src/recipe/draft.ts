import { defaultTail, farHead, localHead, portOf } from './defaults.js';
import { describePlace, endUrls } from './describe.js';
import { type Word, wrongWord } from './error.js';
import { hasHostName } from './host-name.js';
import { ipAddressOf, ipProtocolFor } from './protocols.js';
import {
  type FarChild,
  isUnix,
  type LocalRecipeChild,
  type Recipe,
  type RecipeChild,
  type RecipeEnd,
  splitEnd,
} from './recipe.js';
import type { Service } from './services.js';

/** What words can set of an end. */
export type Field = 'protocol' | 'place' | 'host' | 'port' | 'path';

/** A link while its words are being read. */
export interface Draft {
  /** `weight` is that of its tail, if it has one of several. */
  link: Recipe & { weight?: number };
  /** The end that the words are about: the head, and the tail after `tailWord`. */
  part: 'head' | 'tail';
  /** The fields of that end that words have set; the others are defaults. */
  setFields: Set<Field>;
  /** The last keyword about each end. */
  lastWord: { head?: Word; tail?: Word };
  /** The word that began the tail: `tail`, `trigger`, or one that began a child. */
  tailWord?: Word;
  /** For a far child, what it takes from the machine that asks for it. */
  asker?: Asker;
  /** For a far child, the service that the rest of the recipe is, and its machines if the recipe has them. */
  service?: Service;
}

/** The port that a far tail has if it says none; undefined while it is yet to be chosen, or when there is none to take over. */
export interface Asker {
  port: number | undefined;
  hasPort: boolean;
}

/** A link whose head has its defaults, and of which nothing is said yet. */
export function openLink(head: RecipeEnd, asker?: Asker): Draft {
  const draft: Draft = { link: { head, trigger: false }, part: 'head', setFields: new Set(), lastWord: {} };
  if (asker) draft.asker = asker;
  return draft;
}

/** The end that the words are about. */
export function currentEnd({ link, part }: Draft): RecipeEnd {
  return (part === 'tail' && link.tail) || link.head;
}

/** Replaces the end that the words are about. */
export function replaceEnd({ link, part }: Draft, end: RecipeEnd): void {
  link[part] = end;
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
  draft.link.tail = defaultTail(draft.link.head, tailPort(draft));
  draft.part = 'tail';
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
  if (kind === 'chain' && link.tail?.place.kind === 'host' && link.tail.place.unit !== undefined)
    throw wrongWord(
      word,
      `the tail is served by ${link.tail.place.unit}, and the head of a chain by Wormhole`,
    );
  if (kind === 'chain' && link.tail && splitEnd(link.tail).some(hasHostName))
    throw wrongWord(
      word,
      `the tail has a name, ${endUrls(link.tail).join(' and ')}, and the head of a chain listens at an address`,
    );
  const child = openLink(localHead(link.tail ?? defaultTail(link.head, tailPort(draft))));
  return adopt(draft, child, { kind, link: child.link }, word);
}

/**
 * From here on the words are about a child on another machine. `word` is the one that said so.
 *
 * @throws RecipeError when something was said of the tail of `draft`, since the child's head is to be it, and for a head whose
 *   clients only a socket of the same machine can serve
 */
export function openFarChild(
  draft: Draft,
  { kind, peer, service }: Omit<FarChild, 'link'>,
  word: Word,
): Draft {
  const { link } = draft;
  if (link.tail && draft.setFields.size > 0) {
    throw wrongWord(word, `the head on ${peer} is the tail of this link; describe it after ${kind} ${peer}`);
  }
  for (const { protocol } of splitEnd(link.head))
    if (ipProtocolFor(protocol) === undefined)
      throw wrongWord(word, `a ${protocol} head leads to a ${protocol} socket of the same machine only`);
  const port = portOf(link.head) ?? tailPort(draft);
  const child = openLink(farHead(link.head), { port, hasPort: port !== undefined || hasTailPort(draft) });
  return adopt(
    draft,
    child,
    { kind, peer, link: child.link, ...(service !== undefined && { service }) },
    word,
  );
}

/**
 * Records that a field of the current end is set. `word` is the keyword it came with.
 *
 * @throws RecipeError when the recipe has set that field of this end before
 */
export function claimField(draft: Draft, field: Field, word: Word): void {
  const { setFields } = draft;
  const end = currentEnd(draft);
  if (setFields.has(field)) throw wrongWord(word, alreadySet(end, field));
  // A path stands for a host and a port.
  if (field === 'path' ? setFields.has('host') || setFields.has('port') : setFields.has('path'))
    if (field !== 'place') throw wrongWord(word, alreadySet(end, field));
  setFields.add(field);
}

function adopt(draft: Draft, childDraft: Draft, child: RecipeChild, word: Word): Draft {
  // Every kind of child but this one puts its head in the place of the tail.
  if (child.kind !== 'child') delete draft.link.tail;
  draft.link.child = child;
  draft.tailWord ??= word;
  return childDraft;
}

/** The port of a tail that says none: that of its head, or for a far child that of the head nearest on the way to it. */
function tailPort({ asker, link }: Draft): number | undefined {
  return asker?.hasPort ? asker.port : portOf(link.head);
}

/** Whether a tail that says no port gets one: a known one, or one that is chosen when the link is created. */
export function hasTailPort({ asker, link }: Draft): boolean {
  if (asker) return asker.hasPort || portOf(link.head) !== undefined;
  return ipAddressOf(splitEnd(link.head)) !== undefined;
}

function alreadySet(end: RecipeEnd, field: Field): string {
  if (field === 'place') {
    if (end.place.kind === 'host' && end.place.unit !== undefined)
      return `the end is already served by ${end.place.unit}; an end has one service, on this host`;
    const place = end.place.kind === 'host' ? "this host's netns" : describePlace(end.place);
    return `the end already lives in ${place}; an end lives in one place`;
  }
  const known = fieldOf(end, field);
  return known === undefined
    ? `the end is already ${endUrls(end).join(' and ')}; an end has one address`
    : `the ${field} is already ${known}; an end has one ${field}`;
}

function fieldOf(end: RecipeEnd, field: Exclude<Field, 'place'>): string | number | undefined {
  if (field === 'protocol') return end.protocol;
  if (isUnix(end)) return field === 'path' ? end.path : undefined;
  return field === 'path' ? undefined : end[field];
}
