import { isDeepStrictEqual } from 'node:util';
import { Failure } from '../api/failure.js';
import type { LinkDetails, Listing, TrafficReport } from '../api/listing-schema.js';
import { requireAllowed } from '../api/require-allowed.js';
import type {
  CreateBody,
  CreatedLink,
  CreatedPart,
  DeleteBody,
  LinkCommand,
  PartBody,
  Preview,
} from '../api/schema.js';
import { createLink, previewLink } from '../links/create.js';
import { deleteLink, NoSuchLink } from '../links/delete.js';
import { drainTail, NoSuchTail } from '../links/drain.js';
import { listLinks } from '../links/list.js';
import { createPart, deletePart, NoPart } from '../links/remote/part.js';
import { trafficReport } from '../links/report.js';
import { NotPublished, recipeForConsumer } from '../links/services/published.js';
import { showLink } from '../links/show.js';
import { sleepLink, startLink, stopLink } from '../links/start-stop.js';
import { parseFarRecipe, parseRecipe } from '../recipe/parse.js';
import type { Recipe } from '../recipe/recipe.js';
import { readTunnels } from '../state/tunnels.js';
import { type AddressPair, withoutZone } from '../text/ip-address.js';
import type { TunnelSettings } from '../tunnels/settings.js';
import { type CreateOptions, DEFAULT_OPTIONS } from '../units/plan.js';
import { type Caller, type MachineCaller, requireMachine } from './caller.js';

/** What the daemon does on request: the same as the commands do on this machine, with the same errors. */
export interface Operations {
  create(body: CreateBody, caller: Caller): Promise<CreatedLink>;
  preview(body: CreateBody, caller: Caller): Promise<Preview>;
  /** Returns what is left, a line each. */
  delete(id: string, body: DeleteBody, caller: Caller): Promise<string[]>;
  change(id: string, change: LinkCommand, caller: Caller): Promise<void>;
  /** Whether one of several tails of a link gets no new client. */
  drain(id: string, which: { tail: string; drains: boolean }, caller: Caller): Promise<void>;
  createPart(partId: string, body: PartBody, caller: Caller): Promise<CreatedPart>;
  /** As `delete`. */
  deletePart(partId: string, caller: Caller): Promise<string[]>;
  list(): Promise<Listing>;
  show(id: string): Promise<LinkDetails>;
  report(): TrafficReport;
}

/** The operations on this machine. `keyFile` holds the key for the machines that recipes name. */
export function createOperations({ keyFile, external }: TunnelSettings): Operations {
  return {
    create: async (body, caller) => {
      const creator = caller.kind === 'machine' ? caller.id : undefined;
      const request = { ...requestOf(body, keyFile), ...(creator !== undefined && { creator }) };
      const { link, isNew } = await createLink(request, () => {});
      // One that was there before may be of somebody else.
      const undo = async () => (isNew ? await deleteLink(link.id) : []);
      if (creator !== undefined) await requireStillAllowed(creator, undo);
      return link;
    },
    preview: async (body) => ({ files: await previewLink(requestOf(body, keyFile)) }),
    async delete(id, body) {
      try {
        return await deleteLink(id, body);
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
    async drain(id, { tail, drains }) {
      try {
        await drainTail(id, tail, drains);
      } catch (error) {
        const isMissing = error instanceof NoSuchLink || error instanceof NoSuchTail;
        throw isMissing ? new Failure('not-found', error.message) : error;
      }
    },
    async createPart(partId, body, caller) {
      const { tunnel, owner, exactNames = false } = body;
      const peer = requirePeer(caller);
      const ends = endsFor(body, peer, external);
      const { service } = body;
      const recipe = service ? publishedRecipe(body.recipe, service) : parseFarRecipe(body.recipe);
      const created = await createPart({
        recipe,
        options: optionsOf(body.options),
        owner: {
          ...{ partId, ...owner, identity: peer.id, address: ends.remote },
          ...(tunnel !== undefined && { tunnel }),
          ...(service && { service: service.name }),
        },
        facing: ends.local,
        keyFile,
        exactNames: exactNames || service !== undefined,
      });
      const takeBack = () => deletePart(partId, peer.id);
      await requireStillAllowed(peer.id, takeBack);
      if (service) await requireStillPublished({ recipe, head: body.recipe, service }, takeBack);
      return created;
    },
    async deletePart(partId, caller) {
      try {
        return await deletePart(partId, requirePeer(caller).id);
      } catch (error) {
        throw error instanceof NoPart ? new Failure('not-found', error.message) : error;
      }
    },
    list: listLinks,
    async show(id) {
      try {
        return await showLink(id);
      } catch (error) {
        throw error instanceof NoSuchLink ? new Failure('not-found', error.message) : error;
      }
    },
    report: trafficReport,
  };
}

/**
 * Makes sure that a service is published as it was when its part was begun, which may take minutes; else `takeBack` is called.
 *
 * @throws Failure
 */
async function requireStillPublished(
  { recipe, head, service }: { recipe: Recipe; head: string[]; service: NonNullable<PartBody['service']> },
  takeBack: () => Promise<unknown>,
): Promise<void> {
  let reason = `service "${service.name}" has just been changed: try again`;
  try {
    if (isDeepStrictEqual(publishedRecipe(head, service), recipe)) return;
  } catch (error) {
    reason = (error as Error).message;
  }
  await takeBack();
  throw new Failure('not-found', reason);
}

/** @throws Failure, `not-found` when this machine does not publish the service */
function publishedRecipe(head: string[], service: NonNullable<PartBody['service']>): Recipe {
  try {
    return recipeForConsumer(head, service);
  } catch (error) {
    throw error instanceof NotPublished ? new Failure('not-found', error.message) : error;
  }
}

/** A machine may have been refused while its request was worked on: then it gets nothing. @throws Failure */
async function requireStillAllowed(id: string, undo: () => Promise<unknown>): Promise<void> {
  try {
    requireAllowed(id);
  } catch (error) {
    await undo();
    throw error;
  }
}

const CHANGES = { stop: stopLink, start: startLink, sleep: sleepLink };

function requirePeer(caller: Caller): MachineCaller {
  return requireMachine(caller, 'parts of links are for other machines: use /v1/links');
}

/**
 * The address that a part of a link admits, and the one where it listens.
 *
 * @throws Failure for a tunnel that is unknown or with another machine, and when something between the machines translates
 *   addresses: then the part would admit that, and everyone behind it
 */
function endsFor(
  { tunnel, connection }: PartBody,
  { id, address, local }: MachineCaller,
  external: string | undefined,
): AddressPair {
  if (tunnel !== undefined) {
    const found = readTunnels().tunnels.find((one) => one.id === tunnel && one.machine === id);
    if (!found)
      throw new Failure('failed', `no tunnel ${tunnel} with your machine here: it has just been deleted`);
    return found.inner;
  }
  const between = 'so a relay or a router is in between; if that router is yours, give wormholed';
  const [caller, called] = [withoutZone(address), withoutZone(local)];
  if (caller !== connection?.local && caller !== connection?.external)
    throw new Failure(
      'failed',
      `your machine calls from ${connection?.local}, and the call arrives from ${address}, ${between} there -E ${address}`,
    );
  if (called !== connection.remote && external !== connection.remote)
    throw new Failure(
      'failed',
      `your machine calls ${connection.remote}, and the call arrives at ${local}, ${between} here -E ${connection.remote}`,
    );
  return { local, remote: address };
}

function requestOf(body: CreateBody, keyFile: string) {
  const { dryRun: _, replace = false, ifAbsent = false, ...options } = body.options ?? {};
  return { recipe: parseRecipe(body.recipe), options: optionsOf(options), keyFile, replace, ifAbsent };
}

function optionsOf({ startTimeout, pull, ...others }: Partial<CreateOptions> = {}): CreateOptions {
  return {
    startTimeout: startTimeout ?? DEFAULT_OPTIONS.startTimeout,
    pull: pull ?? DEFAULT_OPTIONS.pull,
    ...others,
  };
}
