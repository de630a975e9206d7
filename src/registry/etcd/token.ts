import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { makeDirectory, readIfExists, writeAtomically } from '../../system/files.js';
import type { EtcdConfig } from './config.js';

/** The token that etcd has given for the password, for root alone, until the next boot. */
const TOKEN_FILE = '/run/wormhole/etcd-token';

const tokenFile = v.object({ login: v.string(), token: v.string() });

/**
 * The token that this machine has got last, if it was for the user and the password of the configuration. etcd checks a password with bcrypt, which
 * is slow on purpose: machines that renew their keys every 20 s must not ask for that each time.
 */
export function readToken(config: EtcdConfig): string | undefined {
  const text = readIfExists(config.tokenFile ?? TOKEN_FILE);
  if (text === undefined) return undefined;
  try {
    const { login, token } = v.parse(tokenFile, JSON.parse(text));
    return login === digestOf(config) ? token : undefined;
  } catch {
    // Another one takes its place.
    return undefined;
  }
}

/** Keeps a token for {@link readToken}. */
export function writeToken(config: EtcdConfig, token: string): void {
  const path = config.tokenFile ?? TOKEN_FILE;
  makeDirectory(dirname(path));
  writeAtomically(path, JSON.stringify({ login: digestOf(config), token }), { mode: 0o600 });
}

function digestOf({ login }: EtcdConfig): string {
  return createHash('sha256').update(JSON.stringify(login)).digest('hex');
}
