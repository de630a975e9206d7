import { isIP } from 'node:net';
import { Failure } from '../../api/failure.js';
import { interfaceOf, tunnelNumber } from '../../ipsec/names.js';
import { RecipeError } from '../../recipe/error.js';
import { ipAddressOf } from '../../recipe/protocols.js';
import { type FarChild, type RecipeEnd, type RecipeIpAddress, splitEnd } from '../../recipe/recipe.js';
import { type IpUrl, parseUrl } from '../../recipe/url.js';
import type { FarAddress } from '../../state/far-address.js';
import { hostPort, isAlwaysPresent } from '../../text/ip-address.js';
import { quoted } from '../../text/quote.js';
import type { Tunnel } from '../../units/tunnel.js';

/**
 * Makes sure that this machine can reach the head which a recipe describes on another one.
 *
 * @throws RecipeError for a loopback address, which would lead back to this machine, and for any address of a head in a tunnel,
 *   around which it would lead
 */
export function requireReachable({ kind, peer, link }: FarChild): void {
  const { host } = networkAddress(link.head);
  if (host === undefined || isWildcard(host)) return;
  if (kind !== 'remote')
    throw new RecipeError(
      `the head on ${peer} is at its end of the tunnel, and cannot be at ${host}: leave the address out, or say remote ${peer}`,
    );
  if (isAlwaysPresent(host))
    throw new RecipeError(
      `the head on ${peer} cannot be at ${host}, which only ${peer} itself reaches: leave the address out`,
    );
}

/** How a machine was reached: through a tunnel, or at an address of its own. */
export interface Way {
  tunnel: Tunnel | undefined;
  reached: string;
}

/**
 * Where the head of a part on another machine is: at the address of the recipe, at its end of the tunnel, or at the address by
 * which we have reached it. The machine has chosen the port, unless the recipe names it, and nothing else.
 *
 * @param url what the machine says
 * @throws Failure when it says something else than it was asked for
 */
export function farAddressOf(
  { link }: FarChild,
  url: string,
  { tunnel, reached }: Way,
): FarAddress & { address: string } {
  const head = networkAddress(link.head);
  const said = readUrl(url);
  const isFixed = head.host !== undefined && !isWildcard(head.host);
  const isRight =
    said?.port !== undefined &&
    said.protocol === head.protocol &&
    // A part is at an address; a name would be looked up here.
    isIP(said.host ?? '') !== 0 &&
    (head.port === undefined || said.port === head.port) &&
    (!isFixed || said.host === head.host);
  if (!isRight) {
    const wanted = `${head.protocol}://${hostPort(head.host ?? 'ADDRESS', head.port ?? undefined)}`;
    throw new Failure(
      'failed',
      `it says that its part is at ${quoted(url)}, and was asked for ${wanted}: nothing leads there`,
    );
  }
  const host = isFixed ? head.host : (tunnel?.inner.remote ?? reached);
  const address = hostPort(host ?? '', said.port);
  return tunnel ? { address, device: interfaceOf(tunnelNumber(tunnel.id)) } : { address };
}

/** The address by which the head on another machine is reached. Its listeners have one, see recipe/check.ts. */
function networkAddress(head: RecipeEnd): RecipeIpAddress {
  const address = ipAddressOf(splitEnd(head));
  if (!address)
    throw new RecipeError('the head on another machine is reached over the network, by tcp or udp');
  return address;
}

function readUrl(url: string): IpUrl | undefined {
  try {
    const said = parseUrl({ text: url, position: 0 });
    return 'path' in said ? undefined : said;
  } catch {
    return undefined;
  }
}

/** Whether a head at that address listens at all addresses of its machine. */
function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}
