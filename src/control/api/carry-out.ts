import { type CreateOptions, DEFAULT_OPTIONS } from '../../units/plan.js';
import { type Created, createLink, planLink } from '../create.js';
import { deleteLink, NotDeletable } from '../delete.js';
import { readLinks } from '../links.js';
import { type Listing, listLinks } from '../list.js';
import { readRecipe } from '../recipe.js';
import type { Caller } from './caller.js';
import { Failure } from './failure.js';
import type { CreateRequest, Plan } from './schema.js';

/** What the daemon does on request: the same as the commands do on this machine, with the same errors. */
export interface CarryOut {
  create(request: CreateRequest, caller: Caller): Promise<Created>;
  plan(request: CreateRequest, caller: Caller): Promise<Plan>;
  remove(id: string, caller: Caller): Promise<void>;
  list(): Promise<Listing>;
}

/** Carries requests out on this machine. */
export const carryOut: CarryOut = {
  create: async (request) => createLink(readRecipe(request.recipe), optionsOf(request), () => {}),
  plan: async (request) => ({ files: await planLink(readRecipe(request.recipe), optionsOf(request)) }),
  async remove(id) {
    try {
      await deleteLink(id);
    } catch (error) {
      if (!(error instanceof NotDeletable)) throw error;
      // A part of another link is there, and does not go by itself.
      const there = readLinks().links.some((link) => link.id === id);
      throw new Failure(there ? 'failed' : 'not-found', error.message);
    }
  },
  list: listLinks,
};

function optionsOf({ options: { startTimeout, pull } = {} }: CreateRequest): CreateOptions {
  return {
    startTimeout: startTimeout ?? DEFAULT_OPTIONS.startTimeout,
    pull: pull ?? DEFAULT_OPTIONS.pull,
  };
}
