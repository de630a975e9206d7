import * as v from 'valibot';
import { printable } from '../text/printable.js';

/** The settings of one section of a unit file (systemd.syntax(7)); undefined when the file has no such section. */
export function readSection(text: string, name: string): Map<string, string> | undefined {
  let found: Map<string, string> | undefined;
  let inside = false;
  for (const line of text.split('\n')) {
    if (line.startsWith('[')) {
      inside = line.trim() === `[${name}]`;
      if (inside) found ??= new Map();
    } else if (inside && !/^\s*[#;]/.test(line)) {
      const at = line.indexOf('=');
      if (at > 0) found?.set(line.slice(0, at).trim(), line.slice(at + 1).trim());
    }
  }
  return found;
}

/**
 * Checks the settings of a section against a schema.
 *
 * @throws Error that names the first setting which is missing or wrong
 */
export function parseSection<T extends v.GenericSchema>(
  schema: T,
  settings: ReadonlyMap<string, string>,
): v.InferOutput<T> {
  const result = v.safeParse(schema, Object.fromEntries(settings));
  if (result.success) return result.output;
  const [issue] = result.issues;
  const name = v.getDotPath(issue);
  const value = settings.get(name ?? '');
  if (name === null) throw new Error(issue.message);
  throw new Error(
    value === undefined ? `${name}= is missing` : `${name}=${printable(value)} ${issue.message}`,
  );
}
