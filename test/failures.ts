import { stripVTControlCharacters } from 'node:util';

/** The end of a run is all that some systems keep of its output: characters that are repeated of a failure. */
const CHARACTERS = 280;

/** Failures of a file that are repeated. */
const FAILURES = 2;

/**
 * What failed in a file of tests, from all that it printed, a line each: of the first tests that failed the name, the beginning of the
 * message and where it is, and how many more there are; of a file that broke off, its last lines. The run repeats it at its end, where it
 * is found.
 */
export function failuresIn(output: string): string[] {
  const lines = stripVTControlCharacters(output).trimEnd().split('\n');
  const starts = lines.flatMap((line, at) => (/^ {3}FAIL {2}/.test(line) ? [at] : []));
  if (starts.length === 0) return [`… ${joined(lines).slice(-CHARACTERS)}`];
  const told = starts.slice(0, FAILURES).map((start, n) => {
    const following = lines.slice(start + 1, starts[n + 1]);
    const end = following.findIndex((line) => /^ {2}Total: /.test(line));
    const said = end < 0 ? following : following.slice(0, end);
    const isFrame = (line: string) => /^ +at /.test(line);
    const where = said.find((line) => isFrame(line) && !/node_modules|\(<anonymous>\)$/.test(line)) ?? '';
    const name = lines[start]?.replace(/^ {3}FAIL {2}/, '') ?? '';
    const message = joined(said.filter((line) => !isFrame(line)));
    const cut = message.length > CHARACTERS ? `${message.slice(0, CHARACTERS)}…` : message;
    const place = /test\/[^)]*/.exec(where)?.[0] ?? '';
    return `${name}: ${cut}${place && ` (${place})`}`;
  });
  const more = starts.length - told.length;
  return more > 0 ? [...told, `… and ${more} more`] : told;
}

function joined(lines: string[]): string {
  return lines
    .map((line) => line.trim())
    .filter(Boolean)
    .join(' | ');
}
