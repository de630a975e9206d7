import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { createOnce, makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import { stateDirectory } from './directory.js';
import { machineIdDigest } from './machine-id.js';

/**
 * The private key of this machine. It is created when it is needed for the first time, never leaves the machine, and belongs to
 * its /etc/machine-id: a copy of the disk on which that is another one gets a key of its own.
 */
const identityFile = () => `${stateDirectory()}/identity.secret`;

const stored = v.object({ machine: v.string(), privateKey: v.string() });

/**
 * What a machine is known by, whatever its names and addresses: `id` is the first 32 hexadecimal digits of the SHA-256 of
 * `publicKey`, the 32 bytes of an Ed25519 public key (RFC 8032, 5.1.5).
 */
export interface Identity {
  id: string;
  publicKey: Buffer;
  /** Signs a message, 64 bytes. */
  sign(message: Buffer): Buffer;
}

let own: Identity | undefined;

/**
 * The identity of this machine. A user who may not read it has one of their own, for as long as the process lasts: nothing is
 * created for that one on other machines except links, whose recipes are the user's in any case.
 *
 * @throws Error when the machine has no /etc/machine-id, or its key can be neither read nor created
 */
export function ownIdentity(): Identity {
  own ??= process.geteuid?.() === 0 ? identityOf(readOrCreate()) : createIdentity();
  return own;
}

/** A new identity, which is kept nowhere. */
export function createIdentity(): Identity {
  return identityOf(generate());
}

/** The id that belongs to a public key. */
export function idOfKey(publicKey: Buffer): string {
  return createHash('sha256').update(publicKey).digest('hex').slice(0, 32);
}

/** Whether a message was signed with the private key that belongs to a public key; false if that is none. */
export function isSignedBy(publicKey: Buffer, message: Buffer, signature: Buffer): boolean {
  try {
    const key = createPublicKey({
      format: 'jwk',
      key: { kty: 'OKP', crv: 'Ed25519', x: publicKey.toString('base64url') },
    });
    return verify(null, message, key, signature);
  } catch {
    return false;
  }
}

function identityOf(privateKey: KeyObject): Identity {
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
  const publicKey = Buffer.from(x, 'base64url');
  return { id: idOfKey(publicKey), publicKey, sign: (message) => sign(null, message, privateKey) };
}

function readOrCreate(): KeyObject {
  const machine = machineIdDigest();
  const known = read();
  if (known?.machine === machine) return known.key;
  const key = generate();
  const text = JSON.stringify({
    machine,
    privateKey: key.export({ format: 'der', type: 'pkcs8' }).toString('base64'),
  });
  makeDirectory(dirname(identityFile()));
  if (known) writeAtomically(identityFile(), text, { mode: 0o600 });
  // Another process may have been faster.
  else createOnce(identityFile(), text, { mode: 0o600 });
  return read()?.key ?? key;
}

function generate(): KeyObject {
  return generateKeyPairSync('ed25519').privateKey;
}

function read(): { machine: string; key: KeyObject } | undefined {
  const text = readIfExists(identityFile());
  if (text === undefined) return undefined;
  try {
    const { machine, privateKey } = v.parse(stored, JSON.parse(text));
    return {
      machine,
      key: createPrivateKey({ key: Buffer.from(privateKey, 'base64'), format: 'der', type: 'pkcs8' }),
    };
  } catch (error) {
    throw new Error(
      `${identityFile()} is not the key of a machine (${(error as Error).message}): restore it, or remove it, and other machines have to accept a new one`,
    );
  }
}
