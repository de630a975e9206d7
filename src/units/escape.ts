import { quoted } from '../text/quote.js';

/**
 * Escapes text for use inside a unit name, as `systemd-escape TEXT` does (systemd.unit(5), "String Escaping for
 * Inclusion in Unit Names"): `/` becomes `-`, all but letters, digits, `:`, `_` and `.` becomes `\xNN`, byte by byte.
 */
export function escapeUnitName(text: string): string {
  let escaped = '';
  for (const byte of Buffer.from(text)) {
    const char = String.fromCharCode(byte);
    if (char === '/') escaped += '-';
    else if (/[A-Za-z0-9:_]/.test(char) || (char === '.' && escaped !== '')) escaped += char;
    else escaped += hexEscape(byte);
  }
  return escaped;
}

/** The opposite of {@link escapeUnitName}. */
export function unescapeUnitName(escaped: string): string {
  const bytes: number[] = [];
  for (const [part] of escaped.matchAll(/\\x[0-9a-f]{2}|[\s\S]/g)) {
    if (part.length === 4) bytes.push(Number.parseInt(part.slice(2), 16));
    else bytes.push(...Buffer.from(part === '-' ? '/' : part));
  }
  return Buffer.from(bytes).toString();
}

/*
 * What follows is for the templates, where each value is escaped for its setting. A line that ends with a backslash goes on in the next
 * one, whatever stands there (systemd.syntax(7)), and blanks around a value are lost.
 */

/**
 * Passes a value for a comment or a setting of our own, which are taken as they are.
 *
 * @throws Error that quotes it when it would not come back as it is: it has a line break or another control character, or
 *   begins or ends with a blank, or ends with a backslash
 */
export function plainValue(value: string | number): string {
  const text = String(value);
  if (!/\p{Cc}|\\$/u.test(text) && text === text.trim()) return text;
  throw new Error(
    `${quoted(text)} cannot stand in a unit file: it has a control character, a blank at its end, or a backslash there`,
  );
}

/** Escapes a path for a setting that takes one, in which systemd expands specifiers (systemd.unit(5)). @throws as plainValue */
export function escapePath(path: string): string {
  return escapeSpecifiers(plainValue(path));
}

/**
 * Escapes a word, such as the name of a unit or an address, for a setting that takes a list of them.
 *
 * @throws Error that quotes it when it is none: it has a blank or a quote
 */
export function escapeWord(word: string): string {
  const plain = plainValue(word);
  if (!/[\s"']/.test(plain)) return escapeSpecifiers(plain);
  throw new Error(`${quoted(word)} cannot stand in a unit file: it has a blank or a quote`);
}

/**
 * Quotes a path for a setting that takes a list of them, such as BindReadOnlyPaths= or Environment=, in which a path may have blanks.
 *
 * @throws as plainValue, and for a path with a quote or a backslash
 */
export function escapeBind(path: string): string {
  const plain = plainValue(path);
  if (/["'\\]/.test(plain))
    throw new Error(`${quoted(path)} cannot stand in a unit file: it has a quote or a backslash`);
  const inert = escapeSpecifiers(plain);
  return /\s/.test(inert) ? `"${inert}"` : inert;
}

/**
 * Escapes a text for people, in which systemd expands specifiers: Description=. Nothing else can be escaped there, so control
 * characters and backslashes are written as `\xNN`, as in names of units.
 */
export function escapeDescription(text: string): string {
  return escapeSpecifiers(text).replaceAll(/[\p{Cc}\u2028\u2029\\]/gu, hexEscapes);
}

/**
 * Quotes one argument for ExecStart= (systemd.service(5), "Command lines"): in double quotes where it must be, with
 * C-style escapes, and with no specifier or variable expanded.
 */
export function quoteArgument(value: string): string {
  return quoteProgram(value.replaceAll('$', '$$$$'));
}

/** As {@link quoteArgument}, for the first word of a command line: the path of the program, in which no variable is expanded. */
export function quoteProgram(value: string): string {
  if (value.includes('\0')) throw new Error(`${quoted(value)} cannot stand in a unit file: it has a NUL`);
  const inert = escapeSpecifiers(value);
  if (/^[A-Za-z0-9_@%+=:,./$[\]-]+$/.test(inert)) return inert;
  const escaped = inert.replaceAll(/["\\]/g, '\\$&').replaceAll(/\p{Cc}/gu, hexEscapes);
  return `"${escaped}"`;
}

function escapeSpecifiers(value: string): string {
  return value.replaceAll('%', '%%');
}

function hexEscapes(text: string): string {
  return [...Buffer.from(text)].map(hexEscape).join('');
}

function hexEscape(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`;
}
