import { RecipeError } from '../recipe/error.js';
import { kindOf } from '../recipe/protocols.js';
import { isUnix, type Recipe, splitEnd } from '../recipe/recipe.js';
import type { CreateOptions } from '../units/plan.js';

/**
 * Makes sure that limits on the clients have connections to apply to.
 *
 * @throws RecipeError
 */
export function checkClientLimits(
  { head }: Recipe,
  { maxPerSource, rate, idleTimeout, keepAlive, acceptProxyProtocol, workers }: CreateOptions,
): void {
  if (maxPerSource !== undefined && acceptProxyProtocol !== undefined)
    throw new RecipeError(
      `--max-per-source "${maxPerSource}" counts the connections of an address, and with --accept-proxy-protocol all are of the proxy: have the proxy limit its clients`,
    );
  const ends = splitEnd(head);
  const hasStreams = ends.some(({ protocol }) => protocol === undefined || kindOf(protocol) === 'stream');
  const hasTcp = ends.some((end) => !isUnix(end) && (end.protocol === undefined || end.protocol === 'tcp'));
  const spoken = {
    '--max-per-source': maxPerSource,
    '--rate': rate,
    '--idle-timeout': idleTimeout,
    '--keepalive': keepAlive,
    '--workers': workers,
  };
  for (const [option, value] of Object.entries(spoken)) {
    if (value === undefined || (option === '--max-per-source' ? hasTcp : hasStreams)) continue;
    const needed = option === '--max-per-source' ? 'a tcp:// head' : 'a head of tcp:// or unix://';
    throw new RecipeError(`${option} "${value}" is for ${needed}, and the link has none`);
  }
}

/** The options without the limits on clients, which hold at the head alone, and without the threads, which each machine has its own of. */
export function withoutClientLimits(options: CreateOptions): CreateOptions {
  const { maxConnections, maxPerSource, rate, idleTimeout, keepAlive, workers, ...others } = options;
  return others;
}
