import { isIP } from 'node:net';
import { quoted } from '../text/quote.js';
import { LOOPBACK } from './defaults.js';
import { claimField, currentEnd, type Draft, replaceEnd } from './draft.js';
import { type Word, wrongWord } from './error.js';
import { ipAddressOf, ipProtocolFor } from './protocols.js';
import {
  isUnix,
  type Protocol,
  type RecipeAddress,
  type RecipeEnd,
  type RecipeIpAddress,
  type RecipePlace,
  splitEnd,
} from './recipe.js';
import type { IpUrl, Url } from './url.js';

/**
 * Applies what a `url` says to the current end. On a head that has an address already, one of another protocol adds a listener.
 * `word` is the keyword.
 *
 * @throws RecipeError for what was said before, and for an address that the end cannot have
 */
export function sayUrl(draft: Draft, url: Url, word: Word): void {
  const { netns, protocol } = url;
  if (isFarHead(draft) && protocol !== undefined && isUnix({ protocol }))
    throw wrongWord(word, 'the head on another machine is reached over the network, by tcp or udp');
  if (draft.part === 'head' && !('path' in url) && url.host !== undefined && isIP(url.host) === 0)
    throw wrongWord(
      word,
      `host ${quoted(url.host)} is a name, and a head listens at an address, such as 127.0.0.1; names are for tails`,
    );
  const adds = addsListener(draft, protocol);
  if (netns !== undefined && !(adds && isIn(currentEnd(draft), netns)))
    sayPlace(draft, { kind: 'netns', name: netns }, word);
  if (adds) addListener(draft, url);
  else if ('path' in url) sayPath(draft, url, word);
  else sayIpAddress(draft, url, word);
  draft.lastWord[draft.part] = word;
}

/** Sets where the current end lives. `word` is the keyword. @throws RecipeError as {@link sayUrl} */
export function sayPlace(draft: Draft, place: RecipePlace, word: Word): void {
  claimField(draft, 'place', word);
  replaceEnd(draft, { ...currentEnd(draft), place });
  draft.lastWord[draft.part] = word;
}

function isFarHead({ asker, part }: Draft): boolean {
  return asker !== undefined && part === 'head';
}

function isIn({ place }: RecipeEnd, netns: string): boolean {
  return place.kind === 'netns' && place.name === netns;
}

function addsListener(draft: Draft, protocol: Protocol | undefined): protocol is Protocol {
  const { part, setFields } = draft;
  if (part !== 'head' || protocol === undefined) return false;
  const end = currentEnd(draft);
  const hasAddress = ['host', 'port', 'path'].some((field) => setFields.has(field as 'host'));
  // A head on another machine needs no address: that machine chooses one.
  const isChosen = isFarHead(draft) && setFields.has('protocol');
  return (hasAddress || isChosen) && !splitEnd(end).some((listener) => listener.protocol === protocol);
}

/** Adds a listener, which has the host and the port of the first one if it says none. */
function addListener(draft: Draft, url: Url): void {
  const end = currentEnd(draft);
  replaceEnd(draft, { ...end, also: [...(end.also ?? []), listenerOf(url, end)] });
}

function listenerOf(url: Url, end: RecipeEnd): RecipeAddress {
  if ('path' in url) return { protocol: url.protocol, path: url.path };
  const first = ipAddressOf(splitEnd(end)) ?? { host: LOOPBACK, port: undefined };
  return ipAddress(url.protocol ?? 'tcp', url.host ?? first.host, url.port ?? first.port);
}

function sayPath(draft: Draft, { protocol, path }: RecipeAddress & { path: string }, word: Word): void {
  claimField(draft, 'protocol', word);
  claimField(draft, 'path', word);
  replaceEnd(draft, { protocol, path, place: currentEnd(draft).place });
}

function sayIpAddress(draft: Draft, { protocol, host, port }: IpUrl, word: Word): void {
  if (protocol !== undefined) claimField(draft, 'protocol', word);
  if (host !== undefined) claimField(draft, 'host', word);
  if (port !== undefined) claimField(draft, 'port', word);
  if (protocol === undefined && host === undefined && port === undefined) return;
  const end = currentEnd(draft);
  const listeners = protocol === undefined ? splitEnd(end) : [withProtocol(end, protocol)];
  const [first, ...others] = listeners.map((listener) => {
    const before = isUnix(listener)
      ? { protocol: ipProtocolFor(listener.protocol) ?? 'tcp', host: LOOPBACK, port: undefined }
      : listener;
    return ipAddress(before.protocol, host ?? before.host, port ?? before.port);
  });
  if (first === undefined) return;
  replaceEnd(draft, { ...first, place: end.place, ...(others.length > 0 && { also: others }) });
}

/** The first address of an end, with another protocol. */
function withProtocol(end: RecipeEnd, protocol: RecipeIpAddress['protocol']): RecipeAddress {
  return isUnix(end) ? { protocol, host: LOOPBACK } : ipAddress(protocol, end.host, end.port);
}

function ipAddress(
  protocol: RecipeIpAddress['protocol'],
  host: string | undefined,
  port: number | undefined,
): RecipeIpAddress {
  return { protocol, ...(host !== undefined && { host }), ...(port !== undefined && { port }) };
}
