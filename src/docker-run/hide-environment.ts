import { quote, split } from 'shlex';

/**
 * The arguments of a `docker-run` for a terminal or a journal, with `NAME=…` for what -e and --env give: that may be secret.
 *
 * @param args well formed
 */
export function hideEnvironment(args: string): string {
  const words = split(args);
  const isEnv = (word: string | undefined) => word !== undefined && /^(?:--env|-[a-zA-Z]*e)$/.test(word);
  const shown = words.map((word, at) => {
    if (isEnv(words[at - 1])) return hideValue(word);
    return hideAttached(word);
  });
  return shown.some((word, at) => word !== words[at]) ? shown.map(quoteShown).join(' ') : args;
}

function hideValue(assignment: string): string {
  return `${assignment.split('=')[0]}=…`;
}

/** Docker reads -eA=B and -e=A=B alike, and switches may stand before the e. For other options, hiding too much does no harm. */
function hideAttached(word: string): string {
  const [prefix] = /^(?:--env=|-[a-zA-Z]*?e=?)/.exec(word) ?? [];
  const assignment = prefix === undefined ? '' : word.slice(prefix.length);
  return assignment.includes('=') ? `${prefix}${hideValue(assignment)}` : word;
}

/** Quotes a word for people to read; recipe/text.ts has the one whose result a shell reads back. */
function quoteShown(word: string): string {
  return /^[\w.,:/=@%+\u2026-]+$/.test(word) ? word : quote(word);
}
