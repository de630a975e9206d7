import { stripVTControlCharacters } from 'node:util';

/** Lines that are repeated of a failure, and characters of a line: a journal within a message may have thousands. */
const LINES = 14;
const CHARACTERS = 300;

/**
 * What failed in a file of tests, from all that it printed: of each test its name and the beginning of its message, as uvu
 * prints it; of a file that broke off, its last lines. The run repeats it at its end, where it is found.
 */
export function failuresIn(output: string): string[] {
  const lines = stripVTControlCharacters(output).trimEnd().split('\n');
  const starts = lines.flatMap((line, at) => (/^ {3}FAIL {2}/.test(line) ? [at] : []));
  if (starts.length === 0) return [lines.slice(-LINES).map(cut).join('\n')];
  return starts.map((start, n) => {
    const rest = lines.slice(start, starts[n + 1]);
    const end = rest.findIndex((line) => /^ {2}Total: /.test(line));
    const said = rest.slice(0, end < 0 ? undefined : end).filter((line) => line.trim() !== '');
    const more = said.length > LINES ? [`    … ${said.length - LINES} more lines above`] : [];
    return [...said.slice(0, LINES).map(cut), ...more].join('\n');
  });
}

function cut(line: string): string {
  return line.length > CHARACTERS ? `${line.slice(0, CHARACTERS)}…` : line;
}
