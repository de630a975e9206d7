import {
  type Alternatives,
  joinAlternatives,
  openAlternative,
  openService,
  requireFirstTail,
  requireOneTail,
  requireTail,
  setWeight,
} from './alternatives.js';
import { checkDrafts } from './check.js';
import { farHead, firstHead } from './defaults.js';
import { beginTail, type Draft, openFarChild, openLink, openLocalChild } from './draft.js';
import { formatDuration, parseDuration } from './duration.js';
import { missingAfter, RecipeError, type Word, wrongWord } from './error.js';
import { isKeyword, isRunArgument, suggestion } from './keywords.js';
import { parseContainer, parseId, parsePeer } from './names.js';
import type { Recipe, RecipePlace } from './recipe.js';
import { parseRun } from './run.js';
import { sayPlace, sayUrl } from './say-url.js';
import { isService, openPeer, parseService } from './services.js';
import { parseUnitName } from './unit-name.js';
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
 * for a tail the protocol that its head needs and its port. Only two things stay absent: a port that is to be chosen at creation, and
 * the host of a far child's head.
 *
 * @throws RecipeError for words that are no recipe: one the language does not have, one missing or malformed, something
 *   said twice, a link without a tail, with a tail that its head cannot lead to, or one that would connect to itself
 */
export function parseRecipe(words: string[]): Recipe {
  return read(words, openLink(firstHead()));
}

/**
 * Reads the recipe of a link that another machine asks for: the words after its `remote HOST`, as formatRecipe writes
 * them of the child's link. The head starts at an address and port that this machine chooses.
 *
 * @throws RecipeError as {@link parseRecipe} does
 */
export function parseFarRecipe(words: string[]): Recipe {
  return read(words, openLink(farHead(firstHead()), { port: undefined, hasPort: true }));
}

function read(words: string[], first: Draft): Recipe {
  const line: Line = { words: words.map((text, index) => ({ text, position: index + 1 })), read: 0 };
  const last = line.words.at(-1);
  if (!last) throw new RecipeError('the recipe is empty; it says where to listen and where to connect to');
  for (const word of line.words) checkCharacters(word, line);

  const alternatives: Alternatives = { drafts: [first] };
  let draft = first;
  const drafts = [draft];
  for (let word = take(line); word; word = take(line)) {
    requireOpen(word, draft);
    const reading = { draft, line, alternatives };
    const now = readAlternative(word, reading) ?? readService(word, reading) ?? readWord(word, draft, line);
    if (now !== draft) drafts.push(now);
    draft = now;
  }
  requireTail(draft, last);
  checkDrafts(drafts);
  return joinAlternatives(alternatives);
}

interface Reading {
  draft: Draft;
  line: Line;
  alternatives: Alternatives;
}

/** Makes sure that nothing is said of what other machines publish. @throws RecipeError */
function requireOpen(word: Word, { service }: Draft): void {
  if (service === undefined || word.text === 'or') return;
  throw wrongWord(word, `${openPeer(service.name)} is what its machines publish; only or can follow it`);
}

/** Reads `service:NAME` in the place of a machine. Returns undefined for everything else. */
function readService(word: Word, { draft, line, alternatives }: Reading): Draft | undefined {
  const kind = word.text;
  const next = line.words[line.read];
  if (kind !== 'remote' && kind !== 'tunnel' && kind !== 'udptunnel') return undefined;
  if (!next || !isService(next.text)) return undefined;
  line.read++;
  return openService(alternatives, { current: draft, kind, service: parseService(next), word });
}

/** Reads `or` and `weight`, and refuses what is said too late. Returns undefined for every other word. */
function readAlternative(word: Word, { draft, line, alternatives }: Reading): Draft | undefined {
  if (word.text === 'id' || word.text === 'idle') requireFirstTail(alternatives, draft, word);
  if (word.text === 'child' || word.text === 'chain') requireOneTail(alternatives, draft, word);
  if (word.text === 'weight') {
    setWeight(alternatives, { word, value: argument(line, word, 'a whole number, such as 2') });
    return draft;
  }
  if (word.text !== 'or') return undefined;
  const next = line.words[line.read];
  const beginsTail = next?.text === 'tail' || next?.text === 'trigger';
  if (beginsTail) line.read++;
  else if (!next || next.text === 'or' || next.text === 'weight')
    throw missingAfter(
      word,
      'a tail is missing; say where it connects to, such as url :8080 or docker-ns web2',
    );
  return openAlternative(alternatives, { current: draft, word, next: beginsTail ? next : undefined });
}

/** Reads one keyword with its argument. Returns the link that the next words are about. */
function readWord(word: Word, draft: Draft, line: Line): Draft {
  if (!isKeyword(word.text)) throw unknownWord(word);
  switch (word.text) {
    case 'url':
      sayUrl(draft, parseUrl(refuseOption(argument(line, word, URL_FORM))), word);
      return draft;
    case 'docker-ns':
      sayPlace(draft, containerPlace(line), word);
      return draft;
    case 'docker-run': {
      const args = argument(line, word, 'the arguments of docker run in one word, such as nginx');
      requireQuotes(word, line);
      sayPlace(draft, parseRun(args), word);
      return draft;
    }
    case 'unit': {
      const unit = parseUnitName(argument(line, word, 'a service of systemd, such as postgresql.service'));
      requireTailForUnit(draft, word);
      sayPlace(draft, { kind: 'host', unit }, word);
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
      return openFarChild(draft, { kind: word.text, peer }, word);
    }
    case 'id': {
      const id = parseId(argument(line, word, 'a name for the link, such as web'));
      if (draft.link.id !== undefined) {
        throw wrongWord(word, `the id is already ${draft.link.id}; a link has one id`);
      }
      draft.link.id = id;
      return draft;
    }
    case 'or':
    case 'weight':
      throw new Error(`"${word.text}" is read elsewhere`);
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

function containerPlace(line: Line): RecipePlace {
  const word = line.words[line.read];
  if (!word || isKeyword(word.text)) return { kind: 'host' };
  line.read++;
  return { kind: 'container', name: parseContainer(refuseOption(word)) };
}

/** A connection to the head reaches no service: it is relayed to the tail. */
function requireTailForUnit({ part }: Draft, word: Word): void {
  if (part === 'head') throw wrongWord(word, 'a service is for a tail: say trigger, or tail, before it');
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
  // The arguments of docker run may begin with an option of its own.
  return keyword.text === 'docker-run' ? word : refuseOption(word);
}

function refuseOption(word: Word): Word {
  if (word.text.startsWith('-')) throw wrongWord(word, 'options go before the recipe');
  return word;
}

/** Makes sure that a keyword follows the argument of `docker-run`. The message quotes no further argument: it may be secret. */
function requireQuotes(dockerRun: Word, line: Line): void {
  const next = line.words[line.read];
  if (!next || isKeyword(next.text)) return;
  const near = /^[a-z-]+$/.test(next.text) ? suggestion(next.text) : undefined;
  const inQuotes = 'its arguments go in one word, in quotes';
  if (near === undefined)
    throw new RecipeError(`after "docker-run" (word ${dockerRun.position}): ${inQuotes}`, dockerRun);
  throw new RecipeError(
    `word ${next.position}: not a word of the recipe; did you mean "${near}"? If it is for docker-run: ${inQuotes}`,
    next,
  );
}

function unknownWord(word: Word): RecipeError {
  refuseOption(word);
  if (/\S +\S/.test(word.text))
    return wrongWord(word, 'these are several words: leave out the quotes around them');
  const near = suggestion(word.text);
  return wrongWord(word, `not a word of the recipe${near === undefined ? '' : `; did you mean "${near}"?`}`);
}

function checkCharacters(word: Word, line: Line): void {
  // A recipe is kept as one line of a unit file, which is UTF-8.
  if (!/[\p{Cc}\p{Cs}]/u.test(word.text)) return;
  const reason = 'control characters, line breaks and broken Unicode cannot stand in a recipe';
  const isSecret = isRunArgument(
    line.words.map(({ text }) => text),
    word.position - 1,
  );
  throw isSecret ? new RecipeError(`word ${word.position}: ${reason}`, word) : wrongWord(word, reason);
}
