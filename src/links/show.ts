import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LinkDetails } from '../api/listing-schema.js';
import { describePlace } from '../recipe/describe.js';
import { farChildOf, localTailOf, namedTailOf, type PlaceId } from '../recipe/link.js';
import { type Counters, readNotesDescriptor } from '../state/counters.js';
import { readLinks } from '../state/links.js';
import { readTunnels } from '../state/tunnels.js';
import { lastLinesOf } from '../systemd/journal.js';
import { type Systemd, withSystemd } from '../systemd/systemd.js';
import { nameUnits, netnsPath, netnsUnit, serviceUnit, socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { runsOf } from '../units/runs.js';
import { tunnelUnit } from '../units/tunnel.js';
import { identify, isNamespace } from './containers/namespace.js';
import { unhealthyTails } from './containers/unhealthy-tails.js';
import { NoSuchLink } from './delete.js';
import { countersOf, describeLink } from './list.js';
import { readSessions } from './sessions.js';
import { processIn } from './socket-tables.js';

/** The time between the two looks at the counters that rates come from, ms. */
const RATE_MS = 250;

/** How many lines of the journal are shown. */
const LINES = 10;

/** Everything about one link of this machine. It starts nothing. @throws NoSuchLink; Error when systemd is unreachable */
export async function showLink(id: string): Promise<LinkDetails> {
  const { links, unreadable } = readLinks();
  const planned = links.find((link) => link.id === id);
  if (!planned) {
    const reason = unreadable.find((link) => link.id === id)?.reason;
    throw reason === undefined
      ? new NoSuchLink(`no link "${id}": see wormhole list`)
      : new Error(`link "${id}" cannot be read: ${reason}; wormhole delete ${id} removes it`);
  }
  const family = links.filter(({ root }) => root === planned.root);
  const before = { counters: countersOf(planned), at: performance.now() };
  const names = unitsOf(planned);
  const [details, journal] = await Promise.all([
    withSystemd((systemd) => describe(family, names, systemd)),
    // What a service itself writes is for those who may read its journal.
    lastLinesOf(
      names.filter((name) => name.startsWith('wormhole-')),
      LINES,
    ),
  ]);
  // Those of a link with several tails are in the forwarders of these.
  const found = (planned.link.tails ?? [planned]).flatMap((one) => {
    const own = sessionsOf(one.id, details.units);
    return own ? [own] : [];
  });
  const sessions = found.length > 0 ? found.flat().sort((one, other) => other.ageMs - one.ageMs) : undefined;
  await sleep(Math.max(0, RATE_MS - (performance.now() - before.at)));
  const rates = ratesOf(before, { counters: countersOf(planned), at: performance.now() });
  const link = details.links.find((one) => one.id === id);
  if (!link) throw new Error(`link "${id}" is missing among the links of "${planned.root}"`);
  return {
    link,
    family: details.links,
    units: details.units.map(({ mainPid: _, ...unit }) => unit),
    namespaces: namespacesOf(planned),
    ...(rates && { rates }),
    ...(sessions && { sessions }),
    journal,
  };
}

/** The sessions in the forwarder of a link; undefined if it does not run, or the caller may not look at it. */
function sessionsOf(id: string, units: { name: string; mainPid?: number }[]): LinkDetails['sessions'] {
  const service = units.find(({ name }) => name === serviceUnit(id));
  const notes = readNotesDescriptor(id);
  return service?.mainPid && notes ? readSessions(service.mainPid, notes) : undefined;
}

/** The units of a link, those that it is reached by first. */
function unitsOf({ id, link }: PlannedLink): string[] {
  const far = farChildOf(link);
  const names = nameUnits(id);
  const places = [link.head.place, localTailOf(link)?.place].filter((place) => place !== undefined);
  const units = [
    socketUnit(id),
    serviceUnit(id),
    ...(link.tails ?? []).flatMap((tail) => [socketUnit(tail.id), serviceUnit(tail.id)]),
    ...runsOf(link).flatMap(({ unit, place }) => (place.kind === 'unit' ? [unit, place.name] : unit)),
    ...places.map((place) => netnsUnit(place)),
    far && far.kind !== 'remote' ? tunnelUnit(far.peer) : undefined,
    ...(namedTailOf(link) ? [names.socket, names.service] : []),
  ];
  return [...new Set(units)].filter((unit) => unit !== undefined);
}

async function describe(family: PlannedLink[], names: string[], systemd: Systemd) {
  const { tunnels } = readTunnels();
  const units = await systemd.loaded(['wormhole-*.socket', 'wormhole-*.service']);
  const surroundings = { units, unhealthy: unhealthyTails(family, units), tunnels, systemd };
  return {
    links: await Promise.all(family.map((planned) => describeLink(planned, surroundings))),
    units: await Promise.all(names.map(async (name) => ({ name, ...(await systemd.details(name)) }))),
  };
}

interface Look {
  counters: Counters | undefined;
  at: number;
}

function ratesOf(before: Look, after: Look): LinkDetails['rates'] {
  const [from, to] = [before.counters, after.counters];
  if (!to) return undefined;
  const seconds = (after.at - before.at) / 1000;
  const rate = (name: 'served' | 'bytesFromClients' | 'bytesFromTarget') =>
    Math.max(0, to[name] - (from?.[name] ?? 0)) / seconds;
  return {
    served: rate('served'),
    bytesFromClients: rate('bytesFromClients'),
    bytesFromTarget: rate('bytesFromTarget'),
  };
}

function namespacesOf({ link }: PlannedLink): LinkDetails['namespaces'] {
  const places = [link.head.place, localTailOf(link)?.place].filter((place) => place !== undefined);
  const distinct = new Map(places.map((place) => [describePlace(place), place]));
  distinct.delete('this host');
  return [...distinct].map(([words, place]) => ({ place: words, addresses: addressesIn(place) }));
}

/** The addresses in the namespace of a place, as a process there sees them: to enter it takes CAP_SYS_ADMIN. */
function addressesIn(place: PlaceId): string[] {
  const path = netnsPath(place);
  try {
    if (path === undefined || !isNamespace(path)) return [];
    const pid = processIn(identify(path));
    if (pid === undefined) return [];
    const read = (file: string) => readFileSync(`/proc/${pid}/net/${file}`, 'utf8');
    return [...parseLocalAddresses(read('fib_trie')), ...parseIPv6Addresses(read('if_inet6'))];
  } catch (error) {
    // The process has ended meanwhile, or the kernel has no IPv6.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** The IPv4 addresses in /proc/net/fib_trie: a line with the address, then one that says that it is local. */
export function parseLocalAddresses(trie: string): string[] {
  const found = trie.matchAll(/\|-- ([\d.]+)\n\s+\/32 host LOCAL/g);
  return [...new Set([...found].map(([, address = '']) => address))];
}

/** The IPv6 addresses in /proc/net/if_inet6, proc(5): 32 hexadecimal digits, index, prefix, scope, flags, interface. */
export function parseIPv6Addresses(table: string): string[] {
  return [...table.matchAll(/^([0-9a-f]{32}) /gm)].map(([, digits = '']) =>
    new URL(`http://[${digits.match(/.{4}/g)?.join(':')}]`).host.slice(1, -1),
  );
}
