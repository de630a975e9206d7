import { split } from 'shlex';
import { canonicalAddress } from './address.js';
import { quoted, type Word, wrongWord } from './error.js';

/**
 * Reads the argument of `docker-ns`: the name or id of a container. The engine writes names with a `/` before them;
 * it is taken off, which also lets a container be called like a keyword (`docker-ns /tail`).
 *
 * Throws a RecipeError about `word` when no container can have that name.
 */
export function parseContainer(word: Word): string {
  const name = word.text.replace(/^\//, '');
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) return name;
  throw wrongWord(word, `${quoted(word.text)} cannot be the name or id of a container`);
}

/**
 * Reads the argument of `docker-run`, and gives it back as it stands: options, image and command, to be split like
 * a shell does.
 *
 * Throws a RecipeError about `word` when there is no image in it, or a quote is left open.
 */
export function parseRunArgs(word: Word): string {
  if (shellWords(word).every((text) => text === '')) {
    throw wrongWord(word, 'docker-run needs an image, such as docker-run nginx');
  }
  return word.text;
}

function shellWords(word: Word): string[] {
  try {
    return split(word.text);
  } catch {
    throw wrongWord(word, 'the arguments of docker-run end inside a quote or after a backslash');
  }
}

/** What no id may be: units of Wormhole's own have these names. */
export const RESERVED_IDS = ['sync', 'far', 'udp'];

/** What no id may end in: such a link's units would be mistaken for other ones. */
export const RESERVED_ENDINGS = ['.socket', '.service', '-run', '-head'];

/**
 * Reads the argument of `id`: at most 100 letters, digits, `_`, `.` and `-`, beginning with a letter or digit.
 *
 * Throws a RecipeError about `word` for anything else, for one of {@link RESERVED_IDS}, and for an end in one of
 * {@link RESERVED_ENDINGS}.
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
 * Throws a RecipeError about `word` when it is neither.
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
