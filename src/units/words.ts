/** A word of a setting, and where it begins in its value, from 0. */
export interface SplitWord {
  text: string;
  at: number;
}

/** A value that cannot be split into words. `at` is where, from 0. The message does not quote it. */
export class WordFault extends Error {
  constructor(
    message: string,
    readonly at: number,
  ) {
    super(message);
  }
}

/** What an escape stands for (cunescape() of systemd's source). */
const ESCAPES: Record<string, string> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  s: ' ',
  '\\': '\\',
  '"': '"',
  "'": "'",
};

/**
 * Splits a value into words as systemd does (systemd.syntax(7), "Quoting"): at blanks, except in single or double quotes, with
 * C-style escapes in both and outside of them.
 *
 * @throws WordFault for a quote that is left open, and an escape that there is not
 */
export function splitWords(value: string): SplitWord[] {
  const words: SplitWord[] = [];
  let at = 0;
  while (at < value.length) {
    if (/[ \t\r\n]/.test(value[at] ?? '')) at++;
    else {
      const begin = at;
      const bytes: number[] = [];
      at = readWord(value, at, bytes);
      words.push({ text: Buffer.from(bytes).toString(), at: begin });
    }
  }
  return words;
}

/** Appends the bytes of a word. Returns where it ends. */
function readWord(value: string, begin: number, bytes: number[]): number {
  let quote: string | undefined;
  let opened = begin;
  for (let at = begin; ; ) {
    const char = String.fromCodePoint(value.codePointAt(at) ?? 0);
    if (at >= value.length) {
      if (quote !== undefined) throw new WordFault(`the quote ${quote} is left open`, opened);
      return at;
    }
    if (char === '\\') {
      const { bytes: own, length } = readEscape(value, at);
      bytes.push(...own);
      at += length;
      continue;
    }
    if (quote === undefined && /[ \t\r\n]/.test(char)) return at;
    if (char === quote) quote = undefined;
    else if (quote === undefined && (char === '"' || char === "'")) {
      quote = char;
      opened = at;
    } else bytes.push(...Buffer.from(char));
    at += char.length;
  }
}

function readEscape(value: string, at: number): { bytes: number[]; length: number } {
  const rest = value.slice(at + 1);
  const plain = ESCAPES[rest[0] ?? ''];
  if (plain !== undefined) return { bytes: [...Buffer.from(plain)], length: 2 };
  const [, hex, octal, short, long] =
    /^(?:x([0-9a-fA-F]{2})|([0-3][0-7]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/.exec(rest) ?? [];
  const byte = hex !== undefined ? Number.parseInt(hex, 16) : octal && Number.parseInt(octal, 8);
  if (byte !== undefined && byte !== '' && byte !== 0) return { bytes: [byte], length: 4 };
  const point = Number.parseInt(short ?? long ?? '0', 16);
  if (point > 0 && point <= 0x10ffff)
    return { bytes: [...Buffer.from(String.fromCodePoint(point))], length: short === undefined ? 10 : 6 };
  throw new WordFault('a backslash begins an escape, and there is none such: write \\\\ for a backslash', at);
}

/** A word so that {@link splitWords} and {@link expandSpecifiers} give it back. */
export function quoteForUnit(word: string): string {
  const inert = word.replaceAll('%', '%%');
  // A line that begins with # or ; is a comment, also one that continues another.
  if (inert !== '' && !/[\s"'\\\p{Cc}]|^[#;]/u.test(inert)) return inert;
  const escaped = inert
    .replaceAll(/["\\]/g, '\\$&')
    .replaceAll(/\p{Cc}/gu, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return `"${escaped}"`;
}

/**
 * Replaces specifiers (systemd.unit(5)) by their values; `%%` is a percent sign.
 *
 * @throws Error for a specifier that has no value here
 */
export function expandSpecifiers(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/%(.?)/gsu, (_, letter: string) => {
    const value = letter === '%' ? '%' : values[letter];
    if (value !== undefined) return value;
    const known = Object.keys(values).map((name) => `%${name}`);
    throw new Error(`a percent sign begins a specifier, ${known.join(', ')}: write %% for a percent sign`);
  });
}
