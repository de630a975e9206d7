import * as v from 'valibot';
import { printable } from '../text/printable.js';
import { parseFile } from './syntax.js';

/**
 * The settings of one section of a unit file (systemd.syntax(7)); undefined when the file has no such section. Of a setting that is
 * there twice, the last one counts.
 */
export function readSection(text: string, name: string): Map<string, string> | undefined {
  const { sections, settings } = parseFile(text);
  if (!sections.some((section) => section.name === name)) return undefined;
  return new Map(settings.filter(({ section }) => section === name).map(({ key, value }) => [key, value]));
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
