import { address, describePlace } from './describe.js';
import { type Draft, hasTailPort } from './draft.js';
import { missingAfter, type Word, wrongWord } from './error.js';
import { ipProtocolFor, tailsOf } from './protocols.js';
import { isPath, isUnix, type Protocol, type RecipeEnd, splitEnd, tailOf } from './recipe.js';
import { selfProxy } from './self.js';

/**
 * Checks what shows only once all words are read: that the ends of each link fit each other, and that none leads to itself.
 *
 * @throws RecipeError
 */
export function checkDrafts(drafts: Draft[]): void {
  for (const draft of drafts) {
    const { link, tailWord, lastWord } = draft;
    if (!tailWord || isPublished(draft)) continue;
    requirePathOnHost(link.head, lastWord.head);
    if (link.tail) requirePathOnHost(link.tail, lastWord.tail);
    requireFit(link.head, tailOf(link), tailWord);
    requirePort(draft, tailWord);
  }
  const self = selfProxy(drafts.filter((draft) => !isPublished(draft)).map((draft) => draft.link));
  const word = drafts.find((draft) => draft.link === self)?.tailWord;
  if (!self || !word) return;
  const tail = tailOf(self);
  const where = `${address(tail)} of ${describePlace(tail.place)}`;
  throw wrongWord(word, `cannot proxy to self: the recipe itself listens at ${where}`);
}

/** Whether another machine says where a link leads to. */
function isPublished({ link, service }: Draft): boolean {
  return service !== undefined && link.child === undefined;
}

/** Makes sure that the clients of each listener can be relayed to the tail, and that all of them lead to one address. */
function requireFit(head: RecipeEnd, tail: RecipeEnd, word: Word): void {
  const ends = splitEnd(tail);
  const targets = splitEnd(head).map(({ protocol: from }) => {
    const target = ends.find(({ protocol: to }) => tailsOf(from).includes(to));
    if (target) return target;
    throw wrongWord(
      word,
      `the head is ${from} and the tail ${ends.map(({ protocol }) => protocol).join(' and ')}; ${advice(from, splitEnd(head).length > 1)}`,
    );
  });
  const addresses = new Set(targets.map(address));
  if (addresses.size > 1)
    throw wrongWord(
      word,
      `the listeners of the head lead to one address, and these to ${[...addresses].join(' and ')}; make a link of each`,
    );
}

/** What would work instead of a tail that a head of this protocol cannot lead to. */
function advice(from: Protocol, hasOthers: boolean): string {
  if (ipProtocolFor(from) === undefined) return `say tail url ${from}:// and a path or an abstract name`;
  const tails = tailsOf(from).join(' or ');
  return hasOthers
    ? `${from} leads to ${tails}: a url without a protocol, such as :53, is reached by that of each client`
    : `${from} leads to ${tails}`;
}

/** A head with a path has no port that its tail could take over. */
function requirePort(draft: Draft, word: Word): void {
  const { tail } = draft.link;
  if (!tail || isUnix(tail) || tail.port !== undefined || hasTailPort(draft)) return;
  throw missingAfter(word, 'the tail needs a port, such as url :3306, since the head has none');
}

/** A path is one of the machine's own file system. `word` is the last one about the end. */
function requirePathOnHost(end: RecipeEnd, word: Word | undefined): void {
  if (!word || end.place.kind === 'host' || !splitEnd(end).some(isPath)) return;
  const { kind } = end.place;
  if (kind === 'netns')
    throw wrongWord(word, 'a path is the same in every network namespace; leave out the netns');
  const advice =
    kind === 'container'
      ? 'share its directory with the container (docker run -v), and leave docker-ns out'
      : 'share its directory with a container of yours (docker run -v), or use a port, url :3306';
  throw wrongWord(
    word,
    `a path is one of this host's file system, not of that of ${describePlace(end.place)}; ${advice}`,
  );
}
