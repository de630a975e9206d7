import { hkdfSync } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';

/** Where the key is by default. install.sh makes one. */
export const KEY_FILE = '/etc/wormhole/key.secret';

/** A key is at least this long, bits: a shorter one could be guessed. */
const MIN_BITS = 128;

/** A key file has a line or two; a larger file is another one. */
const MAX_BYTES = 16_384;

/**
 * One key, as TLS needs it. `identity` identifies it among several keys, and is public; `secret` is the pre-shared key, 32
 * bytes.
 */
export interface Key {
  identity: string;
  secret: Buffer;
}

/** A key file that is missing or must not be used; the message says how to correct that. */
export class KeyUnusable extends Error {}

/**
 * Reads a key file: one key a line, in hexadecimal or base64, of 128 bits or more; spaces around it and empty lines do not count.
 * This machine proves itself with the first and accepts every one from others, so that a key can be changed without downtime.
 *
 * @returns at least one key
 * @throws KeyUnusable when it is missing, holds anything that is not a random key, is owned by a user other than root or ours, or
 *   is accessible to others
 */
export function readKeys(file: string): [Key, ...Key[]] {
  const lines = readSecretFile(file)
    .split('\n')
    .map((line) => line.trim());
  const keys = lines.filter((line) => line !== '');
  if (keys.length === 0) throw new KeyUnusable(`key file ${file} holds no key: ${ADVICE}`);
  for (const [index, line] of lines.entries()) {
    const fault = line === '' ? undefined : faultOf(line);
    // The line itself may be most of a secret.
    if (fault !== undefined)
      throw new KeyUnusable(`key file ${file}, line ${index + 1}: ${fault}. ${ADVICE}`);
  }
  const [first, ...others] = keys.map(deriveKey);
  return [first as Key, ...others];
}

const ADVICE = `A key is ${MIN_BITS / 4} hexadecimal digits or more, or base64 of ${MIN_BITS / 8} bytes or more, made at random: openssl rand -hex 32, on one machine, and copied to the others`;

/** Why a line is no key; undefined when it is one. */
function faultOf(line: string): string | undefined {
  const isHex = /^[0-9a-f]+$/i.test(line);
  const text = line.replace(/={1,2}$/, '');
  const isBase64 = /^(?:[A-Za-z0-9+/]+|[A-Za-z0-9_-]+)$/.test(text) && text.length % 4 !== 1;
  if (!isHex && !isBase64) {
    if (/^(?:#|;|\/\/)/.test(line)) return 'there is a comment, and a key file holds nothing but keys';
    if (/^-----BEGIN /.test(line)) return 'a PEM file begins there';
    return 'it is neither hexadecimal nor base64';
  }
  const bits = isHex ? 4 * line.length : 6 * text.length;
  // The last character of base64 may hold less than six bits.
  if (bits < MIN_BITS) return `it has ${bits} bits only`;
  return isRandom(text, isHex ? 16 : 64) ? undefined : 'it repeats itself, or is made of words';
}

/**
 * Whether a text of so many digits can be random: it has no period, uses about as many digits as a random one would, and as base64
 * both cases of letters. One of 100,000 random texts of 22 digits of base64 fails, and of longer ones hardly any.
 */
function isRandom(text: string, digits: number): boolean {
  for (let period = 1; period <= text.length / 2; period++)
    if (text.startsWith(text.slice(period))) return false;
  const expected = digits * (1 - (1 - 1 / digits) ** text.length);
  if (new Set(digits === 16 ? text.toLowerCase() : text).size < 0.6 * expected) return false;
  return digits === 16 || (/[a-z]/.test(text) && /[A-Z]/.test(text));
}

/**
 * Derives from a key's text what TLS needs, by HKDF with SHA-256 (RFC 5869), so that a text of any length works. The
 * identity reveals no more than the first message of any handshake: both let an observer try out guesses.
 */
function deriveKey(text: string): Key {
  const derive = (purpose: string, length: number) =>
    Buffer.from(hkdfSync('sha256', text, '', `wormhole control api 1: ${purpose}`, length));
  return { identity: `wormhole-${derive('identity', 8).toString('hex')}`, secret: derive('secret', 32) };
}

/** The text of a file that only root and our user can write or read. */
function readSecretFile(file: string): string {
  let fd: number;
  try {
    fd = openSync(file, 'r');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      throw new KeyUnusable(`no key file ${file}: copy it from the machine that you want to reach`);
    if (code === 'EACCES') throw new KeyUnusable(`key file ${file} cannot be read by this user: use sudo`);
    throw new KeyUnusable(`key file ${file} cannot be read: ${code}`);
  }
  try {
    const { uid, mode, size } = fstatSync(fd);
    if ((mode & 0o170_000) !== 0o100_000) throw new KeyUnusable(`key file ${file} is not a file`);
    if (uid !== 0 && uid !== process.geteuid?.())
      throw new KeyUnusable(`key file ${file} belongs to uid ${uid}: chown root ${file}`);
    if ((mode & 0o7777) !== 0o600 && (mode & 0o7777) !== 0o400) {
      const octal = (mode & 0o7777).toString(8).padStart(4, '0');
      const fault = (mode & 0o077) === 0 ? 'and not 0600 or 0400' : 'so other users can read it';
      throw new KeyUnusable(`key file ${file} has mode ${octal}, ${fault}: chmod 600 ${file}`);
    }
    if (size > MAX_BYTES) throw new KeyUnusable(`key file ${file} has ${size} bytes; is it another file?`);
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}
