import { RecipeError } from './error.js';
import { isKeyword, KEYWORDS, type Keyword } from './keywords.js';
import { parseRecipe } from './parse.js';

/** What the next word of a recipe may be: a keyword, or the argument of the keyword before it. */
export interface NextWords {
  keywords: Keyword[];
  /** The keyword that wants an argument, or may have one. */
  argumentOf?: Keyword;
}

/** Tails that do not lead to their own head, for each kind of that. */
const TAILS = [':2', 'udp://:2', 'unixgram:///x', 'unixpacket:///x'].map((url) => ['url', url]);

/** What may come after a keyword: arguments, and of a tail, an end. */
const CONTINUATIONS: Partial<Record<Keyword, string[][]>> = {
  url: [[':1'], ['udp://'], ['tcp://']],
  'docker-run': [['x']],
  remote: [['x']],
  tunnel: [['x']],
  udptunnel: [['x']],
  id: [['x']],
  idle: [['1s']],
  tail: TAILS,
  trigger: TAILS,
  or: TAILS,
  // One is for a link with several tails, the next of which may be typed yet.
  unit: [['x']],
  weight: [['1'], ['1', 'or', 'url', ':3']],
};

/** The keywords that need an argument. */
const WANTING: readonly Keyword[] = [
  'url',
  'docker-run',
  'remote',
  'tunnel',
  'udptunnel',
  'id',
  'idle',
  'weight',
  'unit',
];

/** What may come after the words of a recipe that is being typed. The parser itself tells which keywords may stand there. */
export function nextWords(words: string[]): NextWords {
  const last = words.at(-1);
  if (last !== undefined && isKeyword(last) && WANTING.includes(last) && words.at(-2) !== 'docker-run')
    return { keywords: [], argumentOf: last };
  const keywords = KEYWORDS.filter((keyword) => mayFollow(words, keyword));
  return { keywords, ...(last === 'docker-ns' && { argumentOf: last }) };
}

function mayFollow(words: string[], keyword: Keyword): boolean {
  return (CONTINUATIONS[keyword] ?? [[]]).some((rest) => {
    try {
      parseRecipe([...words, keyword, ...rest]);
      return true;
    } catch (error) {
      if (!(error instanceof RecipeError)) throw error;
      // What is wrong elsewhere may be because the rest is not typed yet.
      return error.position <= words.length || error.message.startsWith('after ');
    }
  });
}
