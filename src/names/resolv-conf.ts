/** What a resolv.conf says, resolv.conf(5): the servers to ask, and how names that are not complete are completed. */
export interface ResolverConfig {
  servers: string[];
  search: string[];
  ndots: number;
}

/** glibc asks no more servers than these (MAXNS, resolv.conf(5)). */
const MOST_SERVERS = 3;

/** Domains of which names may be completed, at most. */
const MOST_SEARCHED = 6;

/** Reads the text of a resolv.conf. What it does not say has glibc's defaults, but for a server: there is none then. */
export function parseResolvConf(text: string): ResolverConfig {
  const config: ResolverConfig = { servers: [], search: [], ndots: 1 };
  for (const line of text.split('\n')) {
    const [word, ...values] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/);
    if (word === 'nameserver' && values[0] !== undefined && config.servers.length < MOST_SERVERS)
      config.servers.push(values[0]);
    // The last of these lines counts.
    if (word === 'search' || word === 'domain') config.search = values.slice(0, MOST_SEARCHED);
    for (const option of word === 'options' ? values : []) {
      const ndots = /^ndots:(\d{1,2})$/.exec(option)?.[1];
      if (ndots !== undefined) config.ndots = Math.min(15, Number(ndots));
    }
  }
  return config;
}

/**
 * The complete names that a name may stand for, in the order in which they are asked for: one that ends with a dot is complete; one
 * with as many dots as `ndots` says is first taken as it is, any other first completed.
 */
export function candidates(name: string, { search, ndots }: ResolverConfig): string[] {
  if (name.endsWith('.')) return [name.slice(0, -1)];
  const completed = search
    .map((domain) => domain.replace(/^\.|\.$/g, ''))
    .flatMap((domain) => (domain === '' ? [] : `${name}.${domain}`));
  const dots = name.split('.').length - 1;
  return [...new Set(dots >= ndots ? [name, ...completed] : [...completed, name])];
}
