import { Failure } from '../api/failure.js';
import type { CreateBody, CreatedLink, LinkChange, Listing, PartBody, Preview } from '../api/schema.js';
import { createLink, previewLink } from '../links/create.js';
import { deleteLink, NoSuchLink } from '../links/delete.js';
import { listLinks } from '../links/list.js';
import { createPart, deletePart, NoPart } from '../links/remote/part.js';
import { sleepLink, startLink, stopLink } from '../links/start-stop.js';
import { parseFarRecipe, parseRecipe } from '../recipe/parse.js';
import { readTunnels } from '../state/tunnels.js';
import type { AddressPair } from '../text/ip-address.js';
import { type CreateOptions, DEFAULT_OPTIONS } from '../units/plan.js';
import { type Caller, type MachineCaller, requireMachine } from './caller.js';

/** What the daemon does on request: the same as the commands do on this machine, with the same errors. */
export interface Operations {
  create(body: CreateBody, caller: Caller): Promise<CreatedLink>;
  preview(body: CreateBody, caller: Caller): Promise<Preview>;
  /** Returns what is left, a line each. */
  delete(id: string, caller: Caller): Promise<string[]>;
  change(id: string, change: LinkChange, caller: Caller): Promise<void>;
  createPart(partId: string, body: PartBody, caller: Caller): Promise<CreatedLink>;
  /** As `delete`. */
  deletePart(partId: string, caller: Caller): Promise<string[]>;
  list(): Promise<Listing>;
}

/** The operations on this machine. @param keyFile holds the key for the machines that recipes name */
export function createOperations(keyFile: string): Operations {
  return {
    create: async (body) => createLink(requestOf(body, keyFile), () => {}),
    preview: async (body) => ({ files: await previewLink(requestOf(body, keyFile)) }),
    async delete(id) {
      try {
        return await deleteLink(id);
      } catch (error) {
        throw error instanceof NoSuchLink ? new Failure('not-found', error.message) : error;
      }
    },
    async change(id, change) {
      try {
        await CHANGES[change](id);
      } catch (error) {
        throw error instanceof NoSuchLink ? new Failure('not-found', error.message) : error;
      }
    },
    async createPart(partId, body, caller) {
      const { tunnel, owner, exactNames = false } = body;
      const ends = endsFor(body, requirePeer(caller));
      return createPart({
        recipe: parseFarRecipe(body.recipe),
        options: optionsOf(body),
        owner: { partId, ...owner, address: ends.remote, ...(tunnel !== undefined && { tunnel }) },
        facing: ends.local,
        keyFile,
        exactNames,
      });
    },
    async deletePart(partId, caller) {
      requirePeer(caller);
      try {
        return await deletePart(partId);
      } catch (error) {
        throw error instanceof NoPart ? new Failure('not-found', error.message) : error;
      }
    },
    list: listLinks,
  };
}

const CHANGES = { stop: stopLink, start: startLink, sleep: sleepLink };

function requirePeer(caller: Caller): MachineCaller {
  return requireMachine(caller, 'parts of links are for other machines: use /v1/links');
}

/** The address that a part of a link admits, and the one where it listens. @throws Failure for an unknown tunnel */
function endsFor({ tunnel }: PartBody, { address, local }: MachineCaller): AddressPair {
  if (tunnel === undefined) return { local, remote: address };
  const found = readTunnels().tunnels.find(({ id }) => id === tunnel);
  if (!found) throw new Failure('failed', `no tunnel ${tunnel} here: it has just been deleted`);
  return found.inner;
}

function requestOf(body: CreateBody, keyFile: string) {
  return { recipe: parseRecipe(body.recipe), options: optionsOf(body), keyFile };
}

function optionsOf({
  options: { startTimeout, pull, ...others } = {},
}: CreateBody | PartBody): CreateOptions {
  return {
    startTimeout: startTimeout ?? DEFAULT_OPTIONS.startTimeout,
    pull: pull ?? DEFAULT_OPTIONS.pull,
    ...others,
  };
}
