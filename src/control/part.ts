import { endUrl } from '../recipe/describe.js';
import type { Link } from '../recipe/link.js';
import { connectSystemd } from '../systemd/systemd.js';
import { socketUnit } from '../units/names.js';
import { type CreateOptions, flatten, type NamedLink, type Owner } from '../units/plan.js';
import { type Created, createLink } from './create.js';
import { deleteLink } from './delete.js';
import { AddressInUse, reinstall } from './install.js';
import { readLinks } from './links.js';
import { withLock } from './lock.js';
import { freePort } from './ports.js';

/** This machine has no part of a link by that key. */
export class NoPart extends Error {}

/** What is asked about a part waits for what was asked about it before: by its key, the last of these. */
const working = new Map<string, Promise<unknown>>();

/**
 * Makes this machine's part of another one's link, or has the one there is serve that machine again, as the far head of a
 * recipe: it listens on the address that faces the machine, at a port of our choice, and lets in nobody else.
 *
 * The same part may be asked for any number of times. What has changed since, such as an address, is changed in it; its port
 * stays, unless something else has taken it.
 *
 * @param recipe as `parseFarRecipe` reads it
 * @param facing the address of ours that faces the owner
 * @throws as createLink
 */
export function makePart(
  recipe: Link,
  options: CreateOptions,
  owner: Owner,
  facing: string,
  keyFile: string,
): Promise<Created> {
  const wanted: Link = { ...recipe, head: { ...recipe.head, host: recipe.head.host ?? facing } };
  return inTurn(owner.key, async () => {
    const there = findPart(owner.key);
    if (there === undefined) return createLink(wanted, options, () => {}, { keyFile, owner });
    return serveAgain(there, wanted, owner, recipe.head.port === undefined);
  });
}

/** Removes this machine's part of another one's link. @throws NoPart; what deleteLink throws */
export function removePart(key: string): Promise<void> {
  return inTurn(key, async () => {
    const there = findPart(key);
    if (there === undefined) throw new NoPart('this machine has no part of that link');
    await deleteLink(there.id);
  });
}

function findPart(key: string): NamedLink | undefined {
  return readLinks().links.find(({ owner }) => owner?.key === key);
}

async function serveAgain(there: NamedLink, wanted: Link, owner: Owner, anyPort: boolean): Promise<Created> {
  const systemd = await connectSystemd();
  try {
    return await withLock('links', async () => {
      const { port } = there.link.head;
      const moved = (to: number | undefined): NamedLink => {
        const head = { ...there.link.head, host: wanted.head.host as string };
        if (to !== undefined) head.port = to;
        const ties = there.far ? { far: there.far, owner } : { owner };
        return flatten({ ...there.link, head }, there.options, ties)[0] as NamedLink;
      };
      const same = there.link.head.host === wanted.head.host && there.owner?.address === owner.address;
      const listens = (await systemd.state(socketUnit(there.id))).active === 'active';
      let now = moved(port);
      if (same && listens) return made(now);
      try {
        await reinstall(now, systemd);
      } catch (error) {
        if (!(error instanceof AddressInUse) || !anyPort) throw error;
        now = moved(await freePort(now.link.head.place, new Set(port === undefined ? [] : [port])));
        await reinstall(now, systemd);
      }
      return made(now);
    });
  } finally {
    systemd.close();
  }
}

function made({ id, link: { head } }: NamedLink): Created {
  return { id, url: endUrl(head) };
}

/** A part is asked for anew while it is being made, when the wire was cut meanwhile; and it is then perhaps to go. */
async function inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
  const before = working.get(key) ?? Promise.resolve();
  const now = before.then(work, work);
  working.set(key, now);
  try {
    return await now;
  } finally {
    if (working.get(key) === now) working.delete(key);
  }
}
