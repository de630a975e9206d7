import { canonicalAddress } from './ip-address.js';

/** The addresses and the names of each line of a text in the format of /etc/hosts, hosts(5). The names are in small letters. */
export function parseHosts(text: string): { address: string; names: string[] }[] {
  return text.split('\n').flatMap((line) => {
    const [first = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    const address = canonicalAddress(first);
    return address === undefined ? [] : { address, names: names.map((name) => name.toLowerCase()) };
  });
}

/** The addresses that such a text gives a name, in its order, each once. */
export function addressesInHosts(text: string, name: string): string[] {
  const wanted = name.replace(/\.$/, '').toLowerCase();
  return [
    ...new Set(parseHosts(text).flatMap(({ address, names }) => (names.includes(wanted) ? address : []))),
  ];
}
