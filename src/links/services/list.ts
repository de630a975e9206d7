import { type ServiceMachine, servicesOf } from '../../recipe/services.js';
import { quoteForShell } from '../../recipe/text.js';
import { listedNames, lookUpService } from '../../registry/look-up.js';
import { readLinks } from '../../state/links.js';
import { publishedNames, readPublished } from '../../state/published.js';
import { knownMachines, linksWithServices } from './machines.js';

/** A service as `wormhole services` lists it. */
export interface ListedService {
  name: string;
  /** What this machine publishes under the name, as it could be typed. */
  published?: string;
  /** The links of other machines that lead to it here: `3306 of near`. */
  consumers: string[];
  /** The machines of it that are known here, and who has named them. None of a service that only this machine publishes. */
  machines: ServiceMachine[];
  source?: string;
  /** Why it could not be read or looked up. */
  problem?: string;
  /** The ids of the links here that lead to it. */
  links: string[];
}

/** The services that this machine publishes, that it finds in /etc/wormhole/services.d, and that its links lead to, by name. */
export async function listServices(): Promise<ListedService[]> {
  const { links } = readLinks();
  const used = linksWithServices();
  const published = publishedNames();
  const sought = [...listedNames(), ...used.flatMap(({ link }) => servicesOf(link))];
  const services: ListedService[] = [];
  for (const name of [...new Set([...published, ...sought])].sort()) {
    const own = used.filter(({ link }) => servicesOf(link).includes(name));
    const problems: string[] = [];
    const words = published.includes(name) ? readOrExplain(name, problems) : undefined;
    const found = sought.includes(name)
      ? await lookUpOrExplain(name, knownMachines(name, own), problems)
      : undefined;
    services.push({
      name,
      ...(words !== undefined && { published: words }),
      consumers: links.flatMap(({ owner }) =>
        owner?.service === name ? `${owner.id} of ${owner.machine}` : [],
      ),
      machines: found?.machines ?? [],
      ...(found && { source: found.source }),
      ...(problems.length > 0 && { problem: problems.join('; ') }),
      links: own.map(({ id }) => id),
    });
  }
  return services;
}

function readOrExplain(name: string, problems: string[]): string | undefined {
  try {
    return readPublished(name)?.words.map(quoteForShell).join(' ');
  } catch (error) {
    problems.push((error as Error).message);
    return undefined;
  }
}

async function lookUpOrExplain(name: string, known: ServiceMachine[], problems: string[]) {
  try {
    const found = await lookUpService(name, known);
    if (found.problem !== undefined) problems.push(found.problem);
    return found;
  } catch (error) {
    problems.push((error as Error).message);
    return undefined;
  }
}
