import { existsSync, readdirSync, rmSync } from 'node:fs';
import { split } from 'shlex';
import * as v from 'valibot';
import { isServiceName } from '../recipe/services.js';
import { quoteForShell } from '../recipe/text.js';
import { makeDirectory, syncDirectory, writeAtomically } from '../system/files.js';
import { readRootsFile } from '../system/roots-file.js';
import { parseSection, readSection } from '../units/section.js';
import { stateDirectory } from './directory.js';

/** Where the recipes are that this machine publishes, a file a service, in the form of a unit file. */
export const PUBLISHED_DIR = '/etc/wormhole/published.d';

const section = v.object({ Recipe: v.string() });

/** What this machine publishes under a name: the words of a recipe from its tail on. */
export interface PublishedService {
  name: string;
  words: string[];
}

/** What this machine publishes under a name; undefined if it does not. @throws Error for a file that cannot be read, or that others than root can write */
export function readPublished(name: string): PublishedService | undefined {
  const path = fileOf(name);
  if (!publishedNames().includes(name)) return undefined;
  try {
    const text = readRootsFile(path);
    const settings = readSection(text, 'Publish');
    if (!settings) throw new Error('it has no section [Publish]');
    return { name, words: split(parseSection(section, settings).Recipe) };
  } catch (error) {
    throw new Error(`${path} cannot be read: ${(error as Error).message}`);
  }
}

/** The names of the services that this machine publishes, in order. */
export function publishedNames(): string[] {
  try {
    return readdirSync(PUBLISHED_DIR).filter(isServiceName).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Publishes a recipe, also after a reboot. Only root can read it: the arguments of docker-run may be secret. */
export function writePublished({ name, words }: PublishedService): void {
  makeDirectory(PUBLISHED_DIR);
  const text = `# Written by wormhole publish, and removed by: wormhole unpublish ${name}
[Publish]
Recipe=${words.map(quoteForShell).join(' ')}
`;
  writeAtomically(fileOf(name), text, { mode: 0o600 });
}

/** One empty file for each service whose recipe is being changed: what other machines have of the former one is not deleted yet. */
const changing = () => `${stateDirectory()}/changed-services`;

/** Records that the recipe of a service is about to change. */
export function markChanging(name: string): void {
  makeDirectory(changing());
  writeAtomically(`${changing()}/${name}`, '');
}

/** Records that nothing is left of the former recipe. */
export function markChanged(name: string): void {
  rmSync(`${changing()}/${name}`, { force: true });
}

/** Whether the recipe is being changed, or was when a command was killed. */
export function isChanging(name: string): boolean {
  return existsSync(`${changing()}/${name}`);
}

/** Publishes it no longer. */
export function removePublished(name: string): void {
  rmSync(fileOf(name), { force: true });
  markChanged(name);
  syncDirectory(PUBLISHED_DIR);
}

function fileOf(name: string): string {
  return `${PUBLISHED_DIR}/${name}`;
}
