import { statSync } from 'node:fs';
import * as v from 'valibot';
import { isThere } from '../../system/files.js';
import { readRootsFile } from '../../system/roots-file.js';
import { quoted } from '../../text/quote.js';
import { parseSection, readSection } from '../../units/section.js';

/** Where the endpoints of etcd are said. Without this file, etcd is not asked. */
export const ETCD_CONF = '/etc/wormhole/etcd.conf';

/** The part of etcd's keys below which the machines are. */
const DEFAULT_PREFIX = '/wormhole/machines/';

/** How etcd is reached. */
export interface EtcdConfig {
  endpoints: URL[];
  /** The certificates of those who have signed that of etcd; absent: those of Node. */
  ca?: Buffer;
  /** Our own certificate and its key. */
  certificate?: Buffer;
  key?: Buffer;
  login?: { name: string; password: string };
  /** The prefix of the keys of machines. It ends in a slash. */
  prefix: string;
  /** Where the token is kept; absent: in /run. */
  tokenFile?: string;
  /** Where other machines reach this one; absent: the address that faces etcd. */
  address?: string;
}

const text = v.exactOptional(v.string());
const section = v.strictObject(
  {
    Endpoints: v.string(),
    ...{ CertificateAuthority: text, Certificate: text, Key: text, User: text, PasswordFile: text },
    ...{ Prefix: text, Address: text },
  },
  'is not a setting of [Etcd]',
);

/**
 * Reads {@link ETCD_CONF}, a section [Etcd] in the form of a unit file.
 *
 * @returns undefined without the file
 * @throws Error in one line, when it or a file that it names cannot be used, or others than root can write to it
 */
export function readEtcdConfig(): EtcdConfig | undefined {
  if (!isThere(ETCD_CONF)) return undefined;
  try {
    return parseEtcdConfig(readRootsFile(ETCD_CONF), readNamedFile);
  } catch (error) {
    throw new Error(`${ETCD_CONF} cannot be used: ${(error as Error).message}`);
  }
}

/** @param isSecret whether only root may read it */
function readNamedFile(path: string, isSecret: boolean): string {
  try {
    const text = readRootsFile(path);
    if (isSecret && (statSync(path).mode & 0o077) !== 0)
      throw new Error(`it is a secret that others can read: chmod 600 ${path}`);
    return text;
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`);
  }
}

/** As {@link readEtcdConfig}. @param readFile reads a file that is named there */
export function parseEtcdConfig(
  config: string,
  readFile: (path: string, isSecret: boolean) => string,
): EtcdConfig {
  const settings = readSection(config, 'Etcd');
  if (!settings) throw new Error('it has no section [Etcd]');
  const said = parseSection(section, settings);
  const { User, PasswordFile, Certificate, Key, CertificateAuthority, Address } = said;
  if ((User === undefined) !== (PasswordFile === undefined))
    throw new Error('User= and PasswordFile= belong together');
  if ((Certificate === undefined) !== (Key === undefined))
    throw new Error('Certificate= and Key= belong together');
  const endpoints = said.Endpoints.split(/\s+/).filter(Boolean).map(parseEndpoint);
  if (endpoints.length === 0) throw new Error('Endpoints= has no address, such as https://10.0.0.1:2379');
  const prefix = said.Prefix ?? DEFAULT_PREFIX;
  if (!prefix.endsWith('/')) throw new Error(`Prefix=${prefix} does not end in a slash`);
  if (User !== undefined && endpoints.some(({ protocol }) => protocol !== 'https:'))
    throw new Error('User= is for endpoints with https alone: a password is not sent in clear text');
  const bytes = (path: string, isSecret = false) => Buffer.from(readFile(path, isSecret));
  return {
    endpoints,
    prefix,
    ...(CertificateAuthority !== undefined && { ca: bytes(CertificateAuthority) }),
    ...(Certificate !== undefined && { certificate: bytes(Certificate) }),
    ...(Key !== undefined && { key: bytes(Key, true) }),
    ...(User !== undefined &&
      PasswordFile !== undefined && {
        login: { name: User, password: readFile(PasswordFile, true).replace(/\r?\n$/, '') },
      }),
    ...(Address !== undefined && { address: Address }),
  };
}

function parseEndpoint(word: string): URL {
  const url = URL.canParse(word) ? new URL(word) : undefined;
  const isPlain =
    url && ['http:', 'https:'].includes(url.protocol) && url.pathname === '/' && url.username === '';
  if (!isPlain)
    throw new Error(`Endpoints=: ${quoted(word)} is not an address such as https://10.0.0.1:2379`);
  return url;
}
