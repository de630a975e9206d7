import { existsSync, readdirSync, rmSync } from 'node:fs';
import * as v from 'valibot';
import { isTemporary, makeDirectory, readIfExists } from '../system/files.js';
import { writeTogether } from '../system/write-together.js';
import { stateDirectory } from './directory.js';

/** One file for each link that is being changed in place, by its id, from which it is put back when that fails or is killed. */
const directory = () => `${stateDirectory()}/former-links`;

const strings = v.array(v.string());
const run = { name: v.string(), link: v.string(), said: v.exactOptional(v.string()) };
const schema = v.object({
  units: v.array(v.object({ name: v.string(), text: v.string() })),
  added: strings,
  close: strings,
  restart: strings,
  runs: v.array(v.object({ ...run, next: v.exactOptional(v.string()) })),
  addedRuns: v.exactOptional(v.array(v.object(run))),
  isStopped: v.boolean(),
  far: v.exactOptional(v.object({ id: v.string(), text: v.exactOptional(v.string()) })),
  dropIns: v.exactOptional(v.array(v.object({ unit: v.string(), text: v.exactOptional(v.string()) }))),
  removed: v.exactOptional(strings),
});

/**
 * A link before it was changed: the texts of its `units`, and whether it `isStopped`. Of the change: the units that it `added`,
 * the links that it had to `close`, the forwarders that it had to `restart`, and the `runs` whose containers are set aside, with the
 * `next` names of the containers that are made in their place; `addedRuns` are those that it did not have. `far` is what the
 * forwarder of its far end was told, if that changes. `dropIns` are those of files that change, as they were.
 *
 * With `removed`, the ids of children that it no longer has, the link is changed: then the former containers remain to be removed.
 */
export type FormerLink = v.InferOutput<typeof schema>;

/** Records links that are about to be changed, by their ids. Units are readable to all, and so is this. */
export function recordFormerLinks(links: [id: string, former: FormerLink][]): void {
  makeDirectory(directory());
  writeTogether(
    links.map(([id, former]) => ({ path: `${directory()}/${id}`, text: JSON.stringify(former) })),
  );
}

/** Forgets it: the link is changed, or put back. */
export function forgetFormerLink(id: string): void {
  rmSync(`${directory()}/${id}`, { force: true });
}

/** Whether any links are being changed, or were when a command was killed. */
export function hasFormerLinks(): boolean {
  return existsSync(directory()) && readdirSync(directory()).length > 0;
}

/** The links that are being changed, by their ids. Call it with the lock `links` held: then these changes were killed. */
export function formerLinks(): Map<string, FormerLink> {
  if (existsSync(directory()))
    for (const name of readdirSync(directory()))
      if (isTemporary(name)) rmSync(`${directory()}/${name}`, { force: true });
  return changingLinks();
}

/** As {@link formerLinks}, for those who do not hold the lock: commands may be at work on these links. */
export function changingLinks(): Map<string, FormerLink> {
  const found = new Map<string, FormerLink>();
  if (!existsSync(directory())) return found;
  for (const id of readdirSync(directory())) {
    const file = `${directory()}/${id}`;
    const text = isTemporary(id) ? undefined : readIfExists(file);
    if (text === undefined) continue;
    const read = v.safeParse(schema, JSON.parse(text));
    if (!read.success)
      throw new Error(`${file} is no record of a link: ${read.issues[0].message}; remove the file`);
    found.set(id, read.output);
  }
  return found;
}
