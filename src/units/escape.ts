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
    else escaped += `\\x${byte.toString(16).padStart(2, '0')}`;
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

/** Escapes a value for a setting in which systemd expands specifiers (systemd.unit(5), "Specifiers"). */
export function escapeSpecifiers(value: string): string {
  return value.replaceAll('%', '%%');
}

/**
 * Quotes one argument for ExecStart= (systemd.service(5), "Command lines"): in double quotes where it must be, with
 * C-style escapes, and with no specifier or variable expanded.
 */
export function quoteArgument(value: string): string {
  const inert = escapeSpecifiers(value).replaceAll('$', '$$$$');
  if (/^[A-Za-z0-9_@%+=:,./$[\]-]+$/.test(inert)) return inert;
  return `"${inert.replace(/["\\]/g, '\\$&')}"`;
}
