import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { createPartAt, type ProvedConnection } from '../../api/client.js';
import { parsePeerEndpoint } from '../../api/endpoint.js';
import { Failure } from '../../api/failure.js';
import type { PartBody } from '../../api/schema.js';
import { portOf } from '../../recipe/defaults.js';
import { formatRecipe } from '../../recipe/format.js';
import type { FarLink, Link } from '../../recipe/link.js';
import { fillIn, isFar, type Recipe } from '../../recipe/recipe.js';
import type { FarAddress } from '../../state/far-address.js';
import { withoutZone } from '../../text/ip-address.js';
import { ensureTunnel } from '../../tunnels/create.js';
import { installedSettings } from '../../tunnels/settings.js';
import type { CreateOptions, FarPart } from '../../units/plan.js';
import { withoutClientLimits } from '../client-limits.js';
import { withoutProxyOptions } from '../proxy-options.js';
import { applyingOptions } from '../unix-paths.js';
import { farAddressOf, requireReachable } from './far-head.js';

/** The words of a recipe for a tunnel, and the mode of each. */
const TUNNEL_MODES = { tunnel: 'esp', udptunnel: 'udp' } as const;

/** What is needed to ask another machine for its part of a link. */
export interface FarPartRequest {
  link: FarLink;
  far: Pick<FarPart, 'partId' | 'keyFile'>;
  options: CreateOptions;
  /** Whether the recipe was typed some time ago, as in the body of `PUT /v1/parts/ID`. */
  exactNames: boolean;
}

/** A new part on another machine. @param keyFile holds the key that both share */
export function newFarPart(keyFile: string): FarPart {
  return { partId: randomBytes(16).toString('hex'), keyFile };
}

/** New parts for those of several tails that are on other machines; nothing for a link without such. */
export function farTails({ tails = [] }: Link): Pick<FarPart, 'tails'> {
  const far = tails.filter(({ child }) => child);
  if (far.length === 0) return {};
  return { tails: Object.fromEntries(far.map(({ name }) => [name, randomBytes(16).toString('hex')])) };
}

/**
 * Makes the other machine create its part of a link, or tell its address if it exists. A tunnel to it is created or repaired
 * first, if the recipe has one.
 *
 * @returns where to connect to: the port that the other machine has chosen, at its end of the tunnel, or at the address by
 *   which we have reached it, unless the recipe says another
 * @throws RecipeError for a head that cannot be reached; Failure, which names the machine; Unreachable, KeyUnusable; what ensureTunnel throws
 */
export async function createFarPart({
  link,
  far,
  options,
  exactNames,
}: FarPartRequest): Promise<FarAddress & { address: string }> {
  const { peer, kind, service, port } = link.child;
  const recipe = recipeForPeer(link);
  requireReachable(link.child);
  const tunnel = kind === 'remote' ? undefined : await ensureTunnel(peer, TUNNEL_MODES[kind], far.keyFile);
  try {
    const { url, reached, failing } = await createPartAt(
      { endpoint: parsePeerEndpoint(peer), keyFile: far.keyFile, ...(tunnel && { id: tunnel.machine }) },
      far.partId,
      (session) => ({
        recipe: formatRecipe(recipe),
        ...(service !== undefined && { service: { name: service, ...(port !== undefined && { port }) } }),
        options: withoutProxyOptions(withoutClientLimits(applyingOptions(recipe, options))),
        ...(tunnel ? { tunnel: tunnel.id } : { connection: connectionOf(session) }),
        ...(exactNames && { exactNames }),
        owner: { id: link.id, machine: ownName() },
      }),
    );
    return {
      ...farAddressOf(link.child, url, { tunnel, reached }),
      ...(failing !== undefined && { failing }),
    };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    throw new Failure(error.code, `machine ${peer}: ${error.message}`);
  }
}

function connectionOf({ local, remote }: ProvedConnection): NonNullable<PartBody['connection']> {
  const { external } = installedSettings();
  const ends = { local: withoutZone(local), remote: withoutZone(remote) };
  return { ...ends, ...(external !== undefined && { external }) };
}

/** The host name of this machine, as the other machine may use it in an id. */
export function ownName(): string {
  return hostname().replace(/[^A-Za-z0-9_.-]|^[^A-Za-z0-9]+/g, '') || 'unnamed';
}

/** The recipe of the far child, with what it has from its parent: the port of its tail, and the span of idleness. */
export function recipeForPeer({ head, idle, child }: FarLink): Recipe {
  // What is published has a span of its own.
  if (child.service !== undefined) return child.link;
  const recipe = withTailPort(child.link, portOf(head));
  return idle === undefined ? recipe : { ...recipe, idle: recipe.idle ?? idle };
}

/** A recipe of a far child, the tail of which has the port of the head that leads to it, if it says none. */
export function withTailPort(recipe: Recipe, port: number | undefined): Recipe {
  const done = { ...recipe };
  if (recipe.tail && port !== undefined) done.tail = fillIn(recipe.tail, { port });
  const { child } = recipe;
  if (child && isFar(child)) done.child = { ...child, link: withTailPort(child.link, port) };
  return done;
}
