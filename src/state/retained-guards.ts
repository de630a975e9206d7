import { existsSync, readdirSync, rmSync } from 'node:fs';
import * as v from 'valibot';
import { makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import type { AddressPair } from '../text/ip-address.js';
import { stateDirectory } from './directory.js';

/**
 * One file for each tunnel that was deleted while links led through it. The tunnel has no unit any more, but the kernel must go
 * on blocking clear text to and from its addresses, also after a boot, for as long as one of those links exists.
 */
const directory = () => `${stateDirectory()}/guards`;

const pair = v.object({ local: v.string(), remote: v.string() });
const schema = v.object({ machine: v.string(), inner: pair, links: v.array(v.string()) });

/** A deleted tunnel whose addresses stay blocked: its `id`, the other `machine`, and the ids of the `links` that used it. */
export interface RetainedGuard {
  id: string;
  machine: string;
  inner: AddressPair;
  links: string[];
}

/** Records that the addresses of a tunnel, which is about to be deleted, stay blocked. */
export function retainGuard({ id, ...rest }: RetainedGuard): void {
  makeDirectory(directory());
  writeAtomically(`${directory()}/${id}`, JSON.stringify(rest));
}

/** All guards of deleted tunnels. @throws Error when a file cannot be read, which says what to do */
export function retainedGuards(): RetainedGuard[] {
  if (!existsSync(directory())) return [];
  return readdirSync(directory())
    .filter((name) => /^[0-9a-f]{16}$/.test(name))
    .flatMap((id) => {
      const text = readIfExists(`${directory()}/${id}`);
      // It has just been released.
      if (text === undefined) return [];
      const read = v.safeParse(schema, JSON.parse(text));
      if (!read.success)
        throw new Error(
          `${directory()}/${id} is not a record of a tunnel: ${read.issues[0].message}; remove the file`,
        );
      return { id, ...read.output };
    });
}

/** Records that the addresses of a deleted tunnel need not be blocked any more. */
export function releaseGuard(id: string): void {
  rmSync(`${directory()}/${id}`, { force: true });
}
