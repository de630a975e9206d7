/** One assignment in a file of systemd's syntax. */
export interface Setting {
  section: string;
  key: string;
  value: string;
  /** The line of the file that it begins in, from 1. */
  line: number;
  /** The line of the file that a character of the value stands in; `offset` counts from 0. */
  lineAt(offset: number): number;
}

/** A line that systemd would not understand. The message never quotes it: it may hold a secret. */
export interface SyntaxFault {
  line: number;
  message: string;
}

/** What a file of systemd's syntax says. */
export interface ParsedFile {
  /** The sections in their order; one that the file opens twice is there twice. */
  sections: { name: string; line: number }[];
  settings: Setting[];
  faults: SyntaxFault[];
}

/** A part of a logical line, and the line of the file that it stands in. */
interface Piece {
  text: string;
  line: number;
}

/**
 * Reads a file as systemd does (systemd.syntax(7), and config_parse() of its source): lines that begin with `#` or `;` are
 * comments, also between lines that belong together; a line that ends with a backslash continues in the next one, the backslash being
 * a blank then; blanks around names and values do not count.
 */
export function parseFile(text: string): ParsedFile {
  const parsed: ParsedFile = { sections: [], settings: [], faults: [] };
  let pieces: Piece[] = [];
  let section: string | undefined;
  for (const [index, line] of text
    .replace(/^\ufeff/, '')
    .split('\n')
    .entries()) {
    const rest = line.replace(/^[ \t\r]+/, '');
    if (/^[#;]/.test(rest)) continue;
    if (endsInBackslash(rest)) {
      pieces.push({ text: `${rest.slice(0, -1)} `, line: index + 1 });
      continue;
    }
    section = readLine([...pieces, { text: rest, line: index + 1 }], section, parsed);
    pieces = [];
  }
  if (pieces.length > 0) readLine(pieces, section, parsed);
  return parsed;
}

/** Reads one logical line. Returns the section that the next one is in. */
function readLine(pieces: Piece[], section: string | undefined, parsed: ParsedFile): string | undefined {
  const whole = pieces.map(({ text }) => text).join('');
  const text = strip(whole);
  const line = pieces.find((piece) => strip(piece.text) !== '')?.line ?? 0;
  const fault = (message: string) => {
    parsed.faults.push({ line, message });
    return section;
  };
  if (text === '') return section;
  if (text.startsWith('[')) {
    if (!text.endsWith(']')) return fault('a section is written [NAME]');
    const name = text.slice(1, -1);
    parsed.sections.push({ name, line });
    return name;
  }
  const at = whole.indexOf('=');
  const key = strip(whole.slice(0, Math.max(at, 0)));
  if (at < 0 || key === '')
    return fault('expected KEY=VALUE; a line that goes on in the next one ends with a backslash');
  if (section === undefined) return fault('this stands before the first section, such as [Link]');
  const value = whole.slice(at + 1);
  const begin = at + 1 + value.length - value.replace(/^[ \t\r\n]+/, '').length;
  parsed.settings.push({
    ...{ section, key, value: strip(value), line },
    lineAt: (offset) => lineOf(pieces, begin + offset),
  });
  return section;
}

function lineOf(pieces: Piece[], offset: number): number {
  let end = 0;
  for (const { text, line } of pieces) {
    end += text.length;
    if (offset < end) return line;
  }
  return pieces.at(-1)?.line ?? 0;
}

function endsInBackslash(line: string): boolean {
  return (/\\*$/.exec(line)?.[0].length ?? 0) % 2 === 1;
}

/** Without systemd's WHITESPACE at both ends. */
function strip(text: string): string {
  return text.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');
}
