import type { SrvRecord } from 'node:dns';
import { Resolver } from 'node:dns/promises';
import { RecipeError } from '../recipe/error.js';
import { parsePeer } from '../recipe/names.js';
import type { ServiceMachine } from '../recipe/services.js';
import { MOST_WEIGHT } from '../recipe/tails.js';
import { quoted } from '../text/quote.js';

/** How long a server may take to answer, ms, and how often it is asked. */
const [TIMEOUT_MS, TRIES] = [2000, 2];

/** DNS knows no machine of a service, or cannot be asked. */
export class SrvFault extends Error {}

/** Whether a name is one of SRV records, `_Service._Proto.Name` (RFC 2782). */
export function isSrvName(name: string): boolean {
  return /^_[a-z0-9-]+\._[a-z]+\.[a-z0-9]/i.test(name);
}

/**
 * Asks the servers of /etc/resolv.conf for the machines of a service.
 *
 * @param name as {@link isSrvName} has it
 * @param resolver whom to ask instead
 * @throws SrvFault when there is no record, no server answers, or an answer is no machine
 */
export async function lookUpSrv(
  name: string,
  resolver: Pick<Resolver, 'resolveSrv'> = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES }),
): Promise<ServiceMachine[]> {
  let records: SrvRecord[];
  try {
    records = await resolver.resolveSrv(name);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTFOUND' || code === 'ENODATA')
      throw new SrvFault(`service "${name}" is unknown: DNS has no SRV record of that name`);
    throw new SrvFault(`the SRV records of service "${name}" cannot be looked up: ${code}`);
  }
  return machinesOfRecords(records, name);
}

/**
 * The machines of SRV records: the targets of the lowest priority, which are those to use while any of them can be reached (RFC 2782), by
 * name, since servers change the order from answer to answer. A weight of 0 counts as 1. Ports are of no interest: a machine is reached at
 * the port of `wormholed`, and one with several records has the sum of their weights.
 *
 * @throws SrvFault when a target is not a machine's name
 */
export function machinesOfRecords(records: SrvRecord[], name: string): ServiceMachine[] {
  const lowest = Math.min(...records.map(({ priority }) => priority));
  const weights = new Map<string, number>();
  for (const { name: target, weight } of records.filter(({ priority }) => priority === lowest)) {
    // The root says that the service is not there.
    if (target === '' || target === '.') continue;
    const host = hostOf(target, name);
    weights.set(host, (weights.get(host) ?? 0) + Math.max(weight, 1));
  }
  return [...weights]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([host, sum]) => ({ host, ...(sum > 1 && { weight: Math.min(sum, MOST_WEIGHT) }) }));
}

/** An answer of DNS is somebody else's text. */
function hostOf(target: string, service: string): string {
  try {
    return parsePeer({ text: target.replace(/\.$/, '').toLowerCase(), position: 1 });
  } catch (error) {
    if (!(error instanceof RecipeError)) throw error;
    throw new SrvFault(
      `an SRV record of service "${service}" names ${quoted(target)}, which is not a machine`,
    );
  }
}
