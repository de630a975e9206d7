/** One setting of a unit file. */
export interface Setting {
  section: string;
  name: string;
  value: string;
}

/**
 * The settings of a unit file, as systemd reads them (systemd.syntax(7), and config_parse() of its source): a line that ends with a
 * backslash goes on in the next, comments are skipped even in between, and blanks around a value do not count.
 */
export function readSettings(text: string): Setting[] {
  const settings: Setting[] = [];
  let section = '';
  let continued = '';
  for (const line of text.split('\n')) {
    if (/^\s*[#;]/.test(line)) continue;
    if (/(?<!\\)(?:\\\\)*\\$/.test(line)) {
      continued += `${line.slice(0, -1)} `;
      continue;
    }
    const whole = (continued + line).trim();
    continued = '';
    if (whole === '') continue;
    const header = /^\[(.*)\]$/.exec(whole)?.[1];
    const [, name, value] = /^([^=]*)=(.*)$/s.exec(whole) ?? [];
    if (header !== undefined) section = header;
    else if (name === undefined) throw new Error(`not a line of a unit file: ${JSON.stringify(whole)}`);
    else settings.push({ section, name: name.trim(), value: (value ?? '').trim() });
  }
  return settings;
}

/**
 * The arguments in a command line of ExecStart= (systemd.service(5), "Command lines"): words in quotes or not, with C-style escapes,
 * of which `%%` stands for `%` and `$$` for `$`. Throws where something would be expanded.
 */
export function readCommandLine(line: string): string[] {
  const words = [...line.matchAll(/"((?:[^"\\]|\\.)*)"|[^\s"']+/g)];
  const rest = line.replaceAll(/"((?:[^"\\]|\\.)*)"|[^\s"']+/g, '').trim();
  if (rest !== '') throw new Error(`a quote without an end in ${line}`);
  return words.map(([word, quoted], at) => {
    const text = quoted === undefined ? word : unescaped(quoted);
    const isExpanded =
      /%/.test(text.replaceAll('%%', '')) || (at > 0 && /\$/.test(text.replaceAll('$$', '')));
    if (isExpanded) throw new Error(`${text} is expanded`);
    const bare = text.replaceAll('%%', '%');
    // In the path of the program, no variables are.
    return at === 0 ? bare : bare.replaceAll('$$', '$');
  });
}

function unescaped(text: string): string {
  // By bytes: what is not ASCII is escaped as UTF-8.
  const bytes = Buffer.from(text).toString('latin1');
  const plain = bytes.replaceAll(/\\(?:x([0-9a-f]{2})|(.))/g, (_, hex, char) =>
    hex === undefined ? char : String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(plain, 'latin1').toString();
}
