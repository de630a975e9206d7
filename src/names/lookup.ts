import { Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { addressesInHosts } from '../text/hosts.js';
import { canonicalAddress } from '../text/ip-address.js';
import { inOrder, isLoopback, isUnusable } from './addresses.js';
import { candidates, parseResolvConf } from './resolv-conf.js';

/** What is looked up, and where: the texts of the resolv.conf and the hosts that count. */
export interface Question {
  name: string;
  resolvConf: string;
  hosts: string;
  /** Whether the text of `hosts` may give the name a loopback address. DNS never may. */
  allowLoopback: boolean;
}

/**
 * The answer: addresses in the order in which they are to be tried, and for how long they are valid, seconds. Or why there is none;
 * `isAnswer` tells whether a server has said so, and not that none could be asked.
 */
export type Answer = { addresses: string[]; ttl: number } | { problem: string; isAnswer: boolean };

/** The TTL is taken to be within these bounds, seconds: a server must neither be asked without a pause, nor be forgotten. */
const SHORTEST_TTL = 1;
const LONGEST_TTL = 3600;

/** Entries of /etc/hosts have no TTL: it is read again after this long, seconds. */
const HOSTS_TTL = 10;

/** The most addresses of each family. */
const MOST = 8;

/** How long a server has to answer at first, ms, and how long a lookup takes at most. */
const SERVER_MS = 1000;
const LOOKUP_MS = 3000;

/** What a server says that knows of no address: the name does not exist, or it has none. */
const ABSENT: Record<string, string> = { ENOTFOUND: 'NXDOMAIN', ENODATA: 'NODATA' };

const FAILURES: Record<string, string> = {
  ESERVFAIL: 'the DNS server fails: SERVFAIL',
  EREFUSED: 'the DNS server does not answer for this name: REFUSED',
  ENOTIMP: 'the DNS server cannot answer: NOTIMP',
  EFORMERR: 'the DNS server does not understand: FORMERR',
  EBADRESP: 'the DNS server sends a malformed answer',
};

/** Looks up a name: in the text of the hosts, and then in DNS, of both families at once. Takes 3 s at most. */
export async function lookUp(question: Question): Promise<Answer> {
  const { name, hosts, allowLoopback } = question;
  const listed = addressesInHosts(hosts, name);
  if (listed.length > 0) {
    const usable = listed.filter((one) => !isUnusable(one) && (allowLoopback || !isLoopback(one)));
    return usable.length > 0
      ? { addresses: firstOf(usable), ttl: HOSTS_TTL }
      : { problem: describeRefused(name, listed, '/etc/hosts'), isAnswer: true };
  }
  const config = parseResolvConf(question.resolvConf);
  const resolver = new Resolver({ timeout: SERVER_MS, tries: 2 });
  const servers = config.servers.filter((server) => isIP(server) !== 0);
  if (servers.length === 0)
    return { problem: `${name} is not in hosts, and resolv.conf names no DNS server`, isAnswer: false };
  resolver.setServers(servers);
  const timer = setTimeout(() => resolver.cancel(), LOOKUP_MS);
  try {
    let absent: Answer | undefined;
    for (const candidate of candidates(name, config)) {
      const answer = await askFor(candidate, resolver, servers);
      if (!('problem' in answer) || !answer.isAnswer) return answer;
      // That of the name as it is written says most.
      if (absent === undefined || candidate === name) absent = answer;
    }
    return absent ?? { problem: `${name} cannot be completed`, isAnswer: false };
  } finally {
    clearTimeout(timer);
  }
}

async function askFor(name: string, resolver: Resolver, servers: string[]): Promise<Answer> {
  const asked = `asked ${servers.join(' and ')}`;
  const results = await Promise.allSettled([
    resolver.resolve6(name, { ttl: true }),
    resolver.resolve4(name, { ttl: true }),
  ]);
  const records = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
  const found = records.flatMap(({ address }) => canonicalAddress(address) ?? []);
  const usable = found.filter((address) => !isUnusable(address) && !isLoopback(address));
  if (usable.length > 0) {
    const ttl = Math.min(...records.map((record) => record.ttl));
    return { addresses: firstOf(usable), ttl: Math.min(LONGEST_TTL, Math.max(SHORTEST_TTL, ttl)) };
  }
  if (found.length > 0) return { problem: describeRefused(name, found, `DNS, ${asked}`), isAnswer: true };
  const codes = results.flatMap((result) =>
    result.status === 'rejected' ? codeOf(result.reason) : 'ENODATA',
  );
  const failure = codes.find((code) => !(code in ABSENT));
  if (failure !== undefined) {
    const words = FAILURES[failure] ?? 'no DNS server answers';
    return { problem: `${name} cannot be looked up: ${words} (${asked})`, isAnswer: false };
  }
  const what = codes.includes('ENOTFOUND') ? 'does not exist: NXDOMAIN' : 'has no address: NODATA';
  return { problem: `${name} ${what} (${asked})`, isAnswer: true };
}

function codeOf(reason: unknown): string {
  return (reason as NodeJS.ErrnoException).code ?? '';
}

function firstOf(addresses: string[]): string[] {
  const families = [addresses.filter((one) => isIP(one) === 6), addresses.filter((one) => isIP(one) === 4)];
  return inOrder(families.flatMap((family) => [...new Set(family)].slice(0, MOST)));
}

function describeRefused(name: string, addresses: string[], source: string): string {
  return `${name} is ${addresses.slice(0, 4).join(' and ')} (${source}), where a name leads nobody: a loopback, link-local or multicast address`;
}
