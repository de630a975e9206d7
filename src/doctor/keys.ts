import { closeSync, constants, fchmodSync, fstatSync, lstatSync, openSync, statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { KEY_FILE, KeyUnusable, readKeys } from '../api/key.js';
import { stateDirectory } from '../state/directory.js';
import type { Check, Facts } from './facts.js';
import type { Finding } from './finding.js';

/** The modes that a secret may have. */
const PRIVATE = [0o600, 0o400];

/** Bits of a mode by which others than its owner get at a file. */
const OTHERS = 0o077;

/** What stat(2) says of a file. */
export interface FileStatus {
  uid: number;
  mode: number;
  isFile: boolean;
}

/** Whether the secrets of this machine are there, are usable, and are accessible to root alone. */
export const keysCheck: Check = {
  name: 'keys',
  async find(facts) {
    const needed = await neededKeys(facts);
    const keys = [...new Set([KEY_FILE, ...needed])];
    return [
      ...keys.flatMap((file) => {
        const status = statusOf(file);
        const wrong = faultOfSecret(file, status);
        if (wrong) return [{ ...wrong, ...repairOf(file, status) }];
        return status || needed.has(file) ? unusable(file) : [];
      }),
      ...own(`${stateDirectory()}/identity.secret`),
    ];
  },
};

/** The key files by which this machine reaches others, or is reached. */
async function neededKeys({ links, tunnels, systemd }: Facts): Promise<Set<string>> {
  const isReached = await systemd.isEnabled('wormholed-tcp.socket').catch(() => false);
  return new Set([
    ...(isReached ? [KEY_FILE] : []),
    ...links.flatMap(({ far }) => far?.keyFile ?? []),
    ...tunnels.tunnels.map(({ keyFile }) => keyFile),
  ]);
}

/** What is wrong with the owner or the mode of a secret; undefined when nothing is, or there is none. */
export function faultOfSecret(
  file: string,
  status: FileStatus | undefined,
): Omit<Finding, 'check' | 'repair'> | undefined {
  if (!status) return undefined;
  const { uid, mode, isFile } = status;
  if (!isFile)
    return { subject: file, problem: 'it is not a regular file', advice: `put the key itself at ${file}` };
  if (uid !== 0)
    return {
      subject: file,
      problem: `it belongs to user ${uid}, who can read and replace it`,
      advice: `chown root ${file}, and change the key if that user must not have it`,
    };
  if (PRIVATE.includes(mode & 0o7777)) return undefined;
  const octal = (mode & 0o7777).toString(8).padStart(4, '0');
  const exposed = (mode & OTHERS) !== 0;
  return {
    subject: file,
    problem: `its mode is ${octal}${exposed ? ': other users can read it, so it is not used' : ', and it is not used'}`,
    advice: `chmod 600 ${file}${exposed ? '; if others have users here, change it too: one of them may have read it' : ''}`,
  };
}

function own(file: string): Omit<Finding, 'check'>[] {
  const status = statusOf(file);
  const wrong = faultOfSecret(file, status);
  if (!wrong) return [];
  const problem = wrong.problem.replace(/, (so|and) it is not used$/, '');
  return [{ ...wrong, problem, ...repairOf(file, status) }];
}

function unusable(file: string): Omit<Finding, 'check'>[] {
  try {
    readKeys(file);
    return [];
  } catch (error) {
    if (!(error instanceof KeyUnusable)) throw error;
    return [unusableKey(file, error.message)];
  }
}

/** What to say of a key that is refused, from what `readKeys` says of it. */
export function unusableKey(file: string, message: string): Omit<Finding, 'check' | 'repair'> {
  if (message.startsWith('no key file'))
    return {
      subject: file,
      problem: 'the file is missing',
      advice: 'copy it from the machines that have it',
    };
  const [, where = '', fault = message] =
    /^key file .*?(, line \d+)?:? ?((?:it|there|a|holds|has|cannot|is) .*?)(?:[.:] |$)/.exec(
      message.replace(`key file ${file}`, 'key file F'),
    ) ?? [];
  return {
    subject: `${file}${where}`,
    problem: `${fault}, and the key is not used`,
    advice: `(umask 077; openssl rand -hex 32 > ${file}), on one machine, and copy it to the others`,
  };
}

/** The mode of a file of root's is set, in a directory that root alone can change: elsewhere, a link may lead to any file. */
function repairOf(file: string, status: FileStatus | undefined): Pick<Finding, 'repair'> {
  if (!status?.isFile || status.uid !== 0 || !isRootsAlone(dirname(file)) || !lstatSync(file).isFile())
    return {};
  return {
    async repair() {
      const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      try {
        if (!fstatSync(fd).isFile()) throw new Error(`${file} is no longer a file`);
        fchmodSync(fd, 0o600);
      } finally {
        closeSync(fd);
      }
      return `${file}: set its mode to 0600`;
    },
  };
}

function isRootsAlone(directory: string): boolean {
  const status = lstatSync(directory);
  const isPrivate = status.isDirectory() && status.uid === 0 && (status.mode & 0o022) === 0;
  return isPrivate && (basename(directory) === '' || isRootsAlone(dirname(directory)));
}

/** A symbolic link to a secret is as good as the secret. */
function statusOf(file: string): FileStatus | undefined {
  const found = statSync(file, { throwIfNoEntry: false });
  return found && { uid: found.uid, mode: found.mode, isFile: found.isFile() };
}
