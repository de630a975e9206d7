import { canonicalAddress } from '../text/ip-address.js';
import { quoted } from '../text/quote.js';
import { type Word, wrongWord } from './error.js';

/**
 * Reads the argument of `docker-ns`: the name or id of a container. The engine writes names with a `/` before them;
 * it is taken off, which also lets a container be called like a keyword (`docker-ns /tail`).
 *
 * @throws RecipeError about `word` when no container can have that name
 */
export function parseContainer(word: Word): string {
  const name = word.text.replace(/^\//, '');
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) return name;
  throw wrongWord(word, `${quoted(word.text)} cannot be the name or id of a container`);
}

/** Ids that are refused: units of Wormhole's own have these names. */
export const RESERVED_IDS = [
  'sync',
  'sync-again',
  'far',
  'tunnel-guard',
  'tunnel-udp',
  'udp',
  'counters',
  'counters-save',
  'metrics',
  'metrics-write',
  'apply',
  'apply-again',
  'labels',
  'labels-again',
  'services-watch',
  'services-register',
];

/** Endings of ids that are refused: the units of such a link would be mistaken for other ones. */
export const RESERVED_ENDINGS = ['.socket', '.service', '-run', '-head'];

/**
 * Reads the argument of `id`: at most 100 letters, digits, `_`, `.` and `-`, beginning with a letter or digit.
 *
 * @throws RecipeError about `word` for anything else, for one of {@link RESERVED_IDS}, and for an id that ends in one of
 *   {@link RESERVED_ENDINGS}
 */
export function parseId(word: Word): string {
  const id = word.text;
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/.test(id)) {
    throw wrongWord(
      word,
      'an id is 1 to 100 letters, digits, "_", "." and "-", and begins with a letter or digit',
    );
  }
  if (RESERVED_IDS.includes(id)) throw wrongWord(word, 'this id is reserved');
  const suffix = RESERVED_ENDINGS.find((reserved) => id.endsWith(reserved));
  if (suffix !== undefined) throw wrongWord(word, `an id cannot end in ${quoted(suffix)}`);
  return id;
}

/**
 * Reads the HOST of `remote`, `tunnel` and `udptunnel`: a host name (RFC 1123) or an IP address. An address comes
 * back in canonical form and without brackets.
 *
 * @throws RecipeError about `word` when it is neither
 */
export function parsePeer(word: Word): string {
  const bracketed = /^\[(.*:.*)\]$/.exec(word.text)?.[1];
  const address = canonicalAddress(bracketed ?? word.text);
  if (address !== undefined) return address;
  if (isHostName(word.text)) return word.text;
  throw wrongWord(word, `${quoted(word.text)} is neither a host name nor an IP address`);
}

function isHostName(text: string): boolean {
  const labels = text.split('.');
  // A last label of digits only is an address with a slip in it: resolvers read 10.1 as 10.0.0.1.
  if (text.length > 253 || /^[0-9]+$/.test(labels.at(-1) ?? '')) return false;
  return labels.every((label) => /^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$/.test(label));
}
