import { isIPv6 } from 'node:net';
import { canonicalAddress } from '../text/ip-address.js';
import { quoted } from '../text/quote.js';
import { type Word, wrongWord } from './error.js';
import { isLocalhost, parseHostName } from './host-name.js';
import type { IpProtocol, UnixAddress, UnixProtocol } from './recipe.js';
import { parseUnixUrl } from './unix-url.js';

/** What one `url` argument says of an IP address; what it leaves open is absent. */
export interface IpUrl {
  protocol?: IpProtocol;
  netns?: string;
  host?: string;
  port?: number;
}

/** What one `url` argument says of a unix socket. */
export type UnixUrl = UnixAddress & { netns?: string };

/** What one `url` argument says. */
export type Url = IpUrl | UnixUrl;

/** The form of the argument of `url`, for messages. */
export const URL_FORM = '{proto://}{netns@}{host}{:port}, such as :3306';

const UNIX: Record<string, UnixProtocol> = { unix: 'unix', unixgram: 'unixgram', unixpacket: 'unixpacket' };

/**
 * Reads the argument of `url`: `{proto://}{netns@}{host}{:port}`, or `unix://` and a path or an abstract name. The host comes
 * back in canonical form, `localhost` and what ends in `.localhost` as 127.0.0.1, another name in small letters.
 *
 * @throws RecipeError about `word` when it says nothing at all, for an unknown protocol, a name that `ip netns` cannot have
 *   made, a host that is neither an IP address nor a name, an IPv6 address without brackets, a port that is not a plain number from 1 to
 *   65535; and as {@link parseUnixUrl}
 */
export function parseUrl(word: Word): Url {
  if (word.text === '') throw wrongWord(word, `expected ${URL_FORM}`);
  const url: IpUrl = {};
  let rest = word.text;

  const slashes = rest.indexOf('://');
  if (slashes >= 0) {
    const protocol = rest.slice(0, slashes);
    rest = rest.slice(slashes + 3);
    const unix = Object.hasOwn(UNIX, protocol) ? UNIX[protocol] : undefined;
    if (unix !== undefined) {
      const { netns, path } = parseUnixUrl(unix, rest, word);
      return { protocol: unix, path, ...(netns !== undefined && { netns: netnsOf(netns, word) }) };
    }
    url.protocol = protocolOf(protocol, word);
  }

  // The last @: a namespace may have one in its name, an address cannot.
  const at = rest.lastIndexOf('@');
  if (at >= 0) {
    url.netns = netnsOf(rest.slice(0, at), word);
    rest = rest.slice(at + 1);
  }

  const { host, port } = splitHost(rest, word);
  if (host !== '') url.host = hostOf(host, word);
  if (port !== undefined) url.port = portOf(port, word);
  return url;
}

function protocolOf(text: string, word: Word): IpProtocol {
  if (text === 'tcp' || text === 'udp') return text;
  throw wrongWord(word, `protocol ${quoted(text)} is none of tcp, udp, unix, unixgram and unixpacket`);
}

function netnsOf(text: string, word: Word): string {
  // The name becomes the name of a file in /run/netns.
  const fits = text !== '' && text !== '.' && text !== '..' && !text.includes('/');
  if (fits && Buffer.byteLength(text) <= 255) return text;
  throw wrongWord(word, `${quoted(text)} cannot be the name of a network namespace`);
}

/** Splits `host:port` in two texts. A bracketed host keeps its brackets; no colon, no port. */
function splitHost(text: string, word: Word): { host: string; port?: string } {
  const open = text.startsWith('[') && !text.includes(']');
  if (open || isIPv6(text) || isIPv6(text.slice(0, text.lastIndexOf(':')))) {
    throw wrongWord(word, 'an IPv6 address goes in brackets, such as [::1]:3306');
  }
  const colon = text.indexOf(':', text.startsWith('[') ? text.indexOf(']') : 0);
  if (colon < 0) return { host: text };
  return { host: text.slice(0, colon), port: text.slice(colon + 1) };
}

function hostOf(text: string, word: Word): string {
  if (isLocalhost(text)) return '127.0.0.1';
  const bracketed = /^\[(.*)\]$/.exec(text)?.[1];
  const address = canonicalAddress(bracketed ?? text);
  if (address !== undefined && isIPv6(address) === (bracketed !== undefined)) return address;
  if (/^[0-9]+$/.test(text)) {
    throw wrongWord(word, `host ${quoted(text)} is not an IP address; did you mean ${quoted(`:${text}`)}?`);
  }
  if (bracketed !== undefined) throw wrongWord(word, `${quoted(bracketed)} is not an IPv6 address`);
  const found = parseHostName(text);
  if ('name' in found) return found.name;
  throw wrongWord(word, found.reason);
}

function portOf(text: string, word: Word): number {
  // No leading zero: some programs would read 010 as 8.
  if (/^[1-9][0-9]{0,4}$/.test(text) && Number(text) <= 65535) return Number(text);
  throw wrongWord(word, `port ${quoted(text)} is not a number from 1 to 65535`);
}
