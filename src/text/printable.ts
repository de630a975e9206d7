/** What moves the cursor, changes colours, hides text or reorders it on a terminal: controls, formats, line separators. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * A text from another program as it may be printed on a terminal, and written to the journal: each character that is not
 * printed as itself becomes U+FFFD.
 *
 * @param kept characters that stay, such as `\n` for a text of several lines
 */
export function printable(text: string, kept = ''): string {
  return text.replace(UNPRINTABLE, (char) => (kept.includes(char) ? char : '\ufffd'));
}

/** As {@link printable}, for a JSON text: each such character becomes `\uXXXX`, so that the text still means the same. */
export function escapeUnprintable(json: string, kept = ''): string {
  return json.replace(UNPRINTABLE, (char) => (kept.includes(char) ? char : escapeUnits(char)));
}

/** JSON has UTF-16 code units in escapes (RFC 8259, 7). */
function escapeUnits(char: string): string {
  return Array.from(
    { length: char.length },
    (_, at) => `\\u${char.charCodeAt(at).toString(16).padStart(4, '0')}`,
  ).join('');
}
