import { RecipeError } from '../recipe/error.js';
import { type Protocol, type Recipe, splitEnd } from '../recipe/recipe.js';
import type { CreateOptions } from '../units/plan.js';

/**
 * Makes sure that the head of a recipe has clients that PROXY headers can be about.
 *
 * @throws RecipeError
 */
export function checkProxyOptions(
  { head }: Recipe,
  { proxyProtocol, acceptProxyProtocol }: CreateOptions,
): void {
  const protocols = splitEnd(head).map(({ protocol }) => protocol);
  const without = (fine: Protocol[]) => protocols.find((protocol) => !fine.includes(protocol));
  const other = without(['tcp', 'unix']);
  if (proxyProtocol !== undefined && other !== undefined)
    throw new RecipeError(
      `--proxy-protocol is for a head of tcp or unix, and this one is ${protocols.join(' and ')}: ${advice(other, protocols)}`,
    );
  const notTcp = without(['tcp']);
  if (acceptProxyProtocol !== undefined && notTcp !== undefined)
    throw new RecipeError(
      `--accept-proxy-protocol is for a head of tcp, and this one is ${protocols.join(' and ')}: ${advice(notTcp, protocols)}`,
    );
}

/** What would work instead of a head that has a listener of this protocol. */
function advice(protocol: Protocol, protocols: Protocol[]): string {
  if (protocols.length > 1) return `make a link of its own for ${protocol}, without the option`;
  if (protocol === 'unix') return 'clients of a unix socket have no network; say url :PORT';
  return 'datagrams have no place for a header; leave the option out, or say url tcp://:PORT';
}

/** The options without those about PROXY headers: only the first link of a recipe deals with them, whatever follows it. */
export function withoutProxyOptions(options: CreateOptions): CreateOptions {
  const { proxyProtocol: _version, acceptProxyProtocol: _networks, ...others } = options;
  return others;
}
