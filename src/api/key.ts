import { hkdfSync } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';

/** Where the key is by default. install.sh makes one. */
export const KEY_FILE = '/etc/wormhole/key.secret';

/** A shorter key could be guessed. */
const MIN_LENGTH = 16;

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
 * Reads a key file: one key a line, of 16 characters or more; spaces around it and empty lines do not count. This machine
 * proves itself with the first and accepts every one from others, so that a key can be changed without downtime.
 *
 * @returns at least one key
 * @throws KeyUnusable when it is missing, too short, owned by a user other than root or ours, or accessible to others
 */
export function readKeys(file: string): [Key, ...Key[]] {
  const keys = readSecretFile(file)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const short = keys.find((key) => key.length < MIN_LENGTH);
  if (short !== undefined || keys.length === 0) {
    const what = short === undefined ? 'holds no key' : `holds a key of ${short.length} characters only`;
    throw new KeyUnusable(
      `key file ${file} ${what}, ${MIN_LENGTH} are the least: openssl rand -hex 32 >${file}, on one machine, and copy it`,
    );
  }
  const [first, ...others] = keys.map(deriveKey);
  return [first as Key, ...others];
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
      throw new KeyUnusable(`key file ${file} has mode ${octal}, others may get at it: chmod 600 ${file}`);
    }
    if (size > MAX_BYTES) throw new KeyUnusable(`key file ${file} has ${size} bytes; is it another file?`);
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}
