import { posix } from 'node:path';
import { type Word, wrongWord } from './error.js';
import type { UnixProtocol } from './recipe.js';

/** The longest path or name, bytes: sun_path has 108, and a path ends with a NUL (unix(7)). */
const LONGEST = 107;

/**
 * Reads what follows `unix://`: a path, or `{netns@}@name` for a name in the abstract namespace. A name has no `@`, so that one
 * in the name of the netns is told from it.
 *
 * @returns the path, or `@` and the name; and the name of the netns as it is
 * @throws RecipeError about `word` for a path that is not absolute, is a directory's, or could be written shorter, for an empty
 *   name, for what is longer than 107 bytes, and for what a unit file cannot hold at its end
 */
export function parseUnixUrl(
  protocol: UnixProtocol,
  text: string,
  word: Word,
): { netns?: string; path: string } {
  const slash = text.indexOf('/');
  const at = text.lastIndexOf('@');
  // In a path, @ is a character like any other; a netns before one ends before the first slash.
  if (slash === 0) return { path: checkPath(text, word) };
  if (slash > 0 && text[slash - 1] === '@') {
    const reason = 'a path is the same in every network namespace; leave out what stands before it';
    throw wrongWord(word, `${reason}: ${protocol}://${text.slice(slash)}`);
  }
  if (at < 0) {
    const form = `expected a path, ${protocol}:///run/x.sock, or an abstract name, ${protocol}://@x`;
    throw wrongWord(word, form);
  }
  const path = checkName(text.slice(at), word);
  const netns = text.slice(0, at);
  if (netns === '') return { path };
  if (!netns.endsWith('@'))
    throw wrongWord(word, `an abstract name begins with @: ${protocol}://${netns}@${path}`);
  return { netns: netns.slice(0, -1), path };
}

function checkPath(path: string, word: Word): string {
  if (path.endsWith('/')) throw wrongWord(word, 'the path is that of a directory, and not of a socket');
  const short = posix.normalize(path);
  if (short !== path) throw wrongWord(word, `the path can be written shorter: ${short}`);
  return checkText(path, word);
}

function checkName(name: string, word: Word): string {
  if (name === '@') throw wrongWord(word, 'the abstract name after the @ is empty');
  return checkText(name, word);
}

function checkText(text: string, word: Word): string {
  const size = Buffer.byteLength(text);
  if (size > LONGEST)
    throw wrongWord(word, `the address of a unix socket has at most ${LONGEST} bytes, and this has ${size}`);
  if (/[\s\\]$/.test(text)) throw wrongWord(word, 'the address of a unix socket cannot end in a blank or \\');
  return text;
}
