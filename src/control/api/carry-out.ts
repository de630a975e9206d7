import { parseFarRecipe } from '../../recipe/parse.js';
import { type CreateOptions, DEFAULT_OPTIONS } from '../../units/plan.js';
import { type Created, createLink, planLink } from '../create.js';
import { deleteLink, NotDeletable } from '../delete.js';
import { readLinks } from '../links.js';
import { type Listing, listLinks } from '../list.js';
import { makePart, NoPart, removePart } from '../part.js';
import { checkRecipe, readRecipe } from '../recipe.js';
import { readTunnels } from '../tunnel/tunnels.js';
import type { Caller } from './caller.js';
import { Failure } from './failure.js';
import type { CreateRequest, PartRequest, Plan } from './schema.js';

/** What the daemon does on request: the same as the commands do on this machine, with the same errors. */
export interface CarryOut {
  create(request: CreateRequest, caller: Caller): Promise<Created>;
  plan(request: CreateRequest, caller: Caller): Promise<Plan>;
  /** Answers what is left on another machine, if anything is. */
  remove(id: string, caller: Caller): Promise<string | undefined>;
  makePart(key: string, request: PartRequest, caller: Caller): Promise<Created>;
  removePart(key: string, caller: Caller): Promise<void>;
  list(): Promise<Listing>;
}

/** Carries requests out on this machine. @param keyFile holds the key for the machines that recipes name */
export function createCarryOut(keyFile: string): CarryOut {
  return {
    create: async (request) =>
      createLink(readRecipe(request.recipe), optionsOf(request), () => {}, { keyFile }),
    plan: async (request) => ({
      files: await planLink(readRecipe(request.recipe), optionsOf(request), { keyFile }),
    }),
    async remove(id) {
      try {
        return await deleteLink(id);
      } catch (error) {
        if (!(error instanceof NotDeletable)) throw error;
        // A part of another link is there, and does not go by itself.
        const there = readLinks().links.some((link) => link.id === id);
        throw new Failure(there ? 'failed' : 'not-found', error.message);
      }
    },
    async makePart(key, request, caller) {
      const { tunnel } = request;
      const { address, local } = endsFor(request, requireMachine(caller));
      const recipe = checkRecipe(parseFarRecipe(request.recipe));
      return makePart(
        recipe,
        optionsOf(request),
        { key, ...request.owner, address, ...(tunnel === undefined ? {} : { tunnel }) },
        local,
        keyFile,
      );
    },
    async removePart(key, caller) {
      requireMachine(caller);
      try {
        await removePart(key);
      } catch (error) {
        throw error instanceof NoPart ? new Failure('not-found', error.message) : error;
      }
    },
    list: listLinks,
  };
}

function requireMachine(caller: Caller): Caller & { kind: 'machine' } {
  if (caller.kind === 'machine') return caller;
  throw new Failure('usage', 'parts of links are for other machines: use /v1/links');
}

/** The address that the part of a link lets in, and the one where it listens. @throws Failure for a tunnel that is not here */
function endsFor({ tunnel }: PartRequest, { address, local }: Caller & { kind: 'machine' }) {
  if (tunnel === undefined) return { address, local };
  const found = readTunnels().tunnels.find(({ id }) => id === tunnel);
  if (!found) throw new Failure('failed', `no tunnel ${tunnel} here: it has just been deleted`);
  return { address: found.remote, local: found.local };
}

function optionsOf({ options: { startTimeout, pull } = {} }: CreateRequest | PartRequest): CreateOptions {
  return {
    startTimeout: startTimeout ?? DEFAULT_OPTIONS.startTimeout,
    pull: pull ?? DEFAULT_OPTIONS.pull,
  };
}
