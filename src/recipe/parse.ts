import { farHead, firstHead } from './defaults.js';
import { address, describePlace } from './describe.js';
import { beginTail, type Draft, openFarChild, openLink, openLocalChild, say } from './draft.js';
import { formatDuration, parseDuration } from './duration.js';
import { missingAfter, RecipeError, type Word, wrongWord } from './error.js';
import { isKeyword, suggestion } from './keywords.js';
import { type End, type Link, type Place, tailOf } from './link.js';
import { parseContainer, parseId, parsePeer, parseRunArgs } from './names.js';
import { selfProxy } from './self.js';
import { parseUrl, URL_FORM } from './url.js';

/** The words of a recipe, and how many of them are read. */
interface Line {
  words: Word[];
  read: number;
}

/**
 * Reads a recipe: the words after `wormhole create`, in the order they were typed.
 *
 * All that the words leave open is filled in: protocol tcp, host 127.0.0.1, the machine's own network namespace, and
 * for a tail its head's protocol and port. Only two things stay absent: a port that is to be chosen at creation, and
 * the host of a far child's head.
 *
 * Throws a RecipeError for words that are no recipe: one the language does not have, one missing or malformed,
 * something said twice, a link without a tail, with two protocols, or one that would connect to itself.
 */
export function parseRecipe(words: string[]): Link {
  return read(words, firstHead());
}

/**
 * Reads the recipe of a link that another machine asks for: the words after its `remote HOST`, as formatRecipe writes
 * them of the child's link. The head starts at an address and port that this machine chooses.
 *
 * Throws as {@link parseRecipe} does.
 */
export function parseFarRecipe(words: string[]): Link {
  return read(words, farHead(firstHead()));
}

function read(words: string[], head: End): Link {
  const line: Line = { words: words.map((text, index) => ({ text, position: index + 1 })), read: 0 };
  const last = line.words.at(-1);
  if (!last) throw new RecipeError('the recipe is empty; it says where to listen and where to connect to');
  for (const word of line.words) checkCharacters(word);

  let draft = openLink(head);
  const drafts = [draft];
  for (let word = take(line); word; word = take(line)) {
    const now = obey(word, draft, line);
    if (now !== draft) drafts.push(now);
    draft = now;
  }
  if (!draft.tailWord) {
    throw missingAfter(
      last,
      'the link has no tail; say where it connects to, with tail, trigger, chain, remote…',
    );
  }
  checkWhole(drafts);
  return (drafts[0] ?? draft).link;
}

/** Carries out one keyword, and answers the link that the next words are about. */
function obey(word: Word, draft: Draft, line: Line): Draft {
  if (!isKeyword(word.text)) throw unknownWord(word, line);
  switch (word.text) {
    case 'url':
      sayUrl(draft, word, argument(line, word, URL_FORM));
      return draft;
    case 'docker-ns':
      say(draft, 'place', containerPlace(line), word);
      return draft;
    case 'docker-run': {
      const args = parseRunArgs(
        argument(line, word, 'the arguments of docker run in one word, such as nginx'),
      );
      say(draft, 'place', { kind: 'run', args }, word);
      return draft;
    }
    case 'tail':
    case 'trigger':
      beginTail(draft, word);
      return draft;
    case 'child':
    case 'chain':
      return openLocalChild(draft, word.text, word);
    case 'remote':
    case 'tunnel':
    case 'udptunnel': {
      const peer = parsePeer(argument(line, word, 'the name or address of a machine'));
      return openFarChild(draft, word.text, peer, word);
    }
    case 'id': {
      const id = parseId(argument(line, word, 'a name for the link, such as web'));
      if (draft.link.id !== undefined) {
        throw wrongWord(word, `the id is already ${draft.link.id}; a link has one id`);
      }
      draft.link.id = id;
      return draft;
    }
    case 'idle': {
      const idle = parseDuration(argument(line, word, 'a span of time, such as 30s'));
      if (draft.link.idle !== undefined) {
        throw wrongWord(word, `idle is already ${formatDuration(draft.link.idle)}; a link has one span`);
      }
      draft.link.idle = idle;
      return draft;
    }
  }
}

function sayUrl(draft: Draft, word: Word, text: Word): void {
  const { protocol, netns, host, port } = parseUrl(refuseOption(text));
  if (protocol !== undefined) say(draft, 'protocol', protocol, word);
  if (netns !== undefined) say(draft, 'place', { kind: 'netns', name: netns }, word);
  if (host !== undefined) say(draft, 'host', host, word);
  if (port !== undefined) say(draft, 'port', port, word);
}

function containerPlace(line: Line): Place {
  const word = line.words[line.read];
  if (!word || isKeyword(word.text)) return { kind: 'host' };
  line.read++;
  return { kind: 'container', name: parseContainer(refuseOption(word)) };
}

function take(line: Line): Word | undefined {
  const word = line.words[line.read];
  line.read++;
  return word;
}

/** The word after a keyword that needs one. */
function argument(line: Line, keyword: Word, expected: string): Word {
  const word = line.words[line.read];
  if (!word || isKeyword(word.text)) throw missingAfter(keyword, `expected ${expected}`);
  line.read++;
  // What docker run is given may well begin with an option of its own.
  return keyword.text === 'docker-run' ? word : refuseOption(word);
}

function refuseOption(word: Word): Word {
  if (word.text.startsWith('-')) throw wrongWord(word, 'options go before the recipe');
  return word;
}

function unknownWord(word: Word, line: Line): RecipeError {
  refuseOption(word);
  const near = suggestion(word.text);
  if (near !== undefined) return wrongWord(word, `not a word of the recipe; did you mean "${near}"?`);
  if (line.words[word.position - 3]?.text === 'docker-run') {
    return wrongWord(word, 'not a word of the recipe; the arguments of docker-run go in one word, in quotes');
  }
  return wrongWord(word, 'not a word of the recipe');
}

function checkCharacters(word: Word): void {
  // A recipe is kept as one line of a unit file, which is UTF-8.
  if (/[\p{Cc}\p{Cs}]/u.test(word.text)) {
    throw wrongWord(word, 'control characters, line breaks and broken Unicode cannot stand in a recipe');
  }
}

/** Checks what shows only once all is read: one link's ends must fit each other. */
function checkWhole(drafts: Draft[]): void {
  for (const { link, tailWord } of drafts) {
    const [from, to] = [link.head.protocol, tailOf(link).protocol];
    if (from !== to && tailWord) {
      throw wrongWord(tailWord, `the head is ${from} and the tail ${to}; a link has one protocol`);
    }
  }
  const self = selfProxy(drafts.map((draft) => draft.link));
  const word = drafts.find((draft) => draft.link === self)?.tailWord;
  if (!self || !word) return;
  const tail = tailOf(self);
  const place = describePlace(tail.place);
  throw wrongWord(word, `cannot proxy to self: the recipe itself listens at ${address(tail)} of ${place}`);
}
