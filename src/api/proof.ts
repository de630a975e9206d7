import type { TLSSocket } from 'node:tls';
import * as v from 'valibot';
import { type Identity, idOfKey, isSignedBy } from '../state/identity.js';
import { check, strictObject } from './check.js';

/*
 * How two machines prove to each other who they are, once both have proved that they have the key: each signs a value that
 * belongs to this TLS session alone (RFC 8446, 7.5, as RFC 9266 uses it). A machine that stands between two sessions, even with the
 * key, can pass on neither signature: their values differ.
 */

/** The label of the value that is signed (RFC 5705, 4). */
const LABEL = 'EXPERIMENTAL wormhole identity 1';
const VALUE_BYTES = 32;

const KEY = 'must be an Ed25519 key, 64 hexadecimal digits';
const SIGNATURE = 'must be an Ed25519 signature, 128 hexadecimal digits';

const proof = strictObject({
  key: v.pipe(v.string(KEY), v.regex(/^[0-9a-f]{64}$/, KEY)),
  signature: v.pipe(v.string(SIGNATURE), v.regex(/^[0-9a-f]{128}$/, SIGNATURE)),
});

/** The public key of a machine, and its signature for a TLS session; both in hexadecimal. */
export type Proof = v.InferOutput<typeof proof>;

/** The side of a TLS session: neither can send the other's proof back as its own. */
export type Side = 'client' | 'server';

/** Proves to the other side of a TLS session that this one has an identity. */
export function createProof(identity: Identity, session: TLSSocket, side: Side): Proof {
  return {
    key: identity.publicKey.toString('hex'),
    signature: identity.sign(messageOf(session, side)).toString('hex'),
  };
}

/**
 * The id of the machine on that side of a TLS session.
 *
 * @param expected.what the value as a whole, for the message, such as `the body`
 * @throws Failure with code usage, when it is not a proof or not for this session
 */
export function checkProof(
  value: unknown,
  { session, side, what }: { session: TLSSocket; side: Side; what: string },
): string | undefined {
  const { key, signature } = check(proof, value, what);
  const publicKey = Buffer.from(key, 'hex');
  const isProved = isSignedBy(publicKey, messageOf(session, side), Buffer.from(signature, 'hex'));
  return isProved ? idOfKey(publicKey) : undefined;
}

function messageOf(session: TLSSocket, side: Side): Buffer {
  const value = session.exportKeyingMaterial(VALUE_BYTES, LABEL, Buffer.alloc(0));
  return Buffer.concat([Buffer.from(`wormhole session 1, ${side}\n`), value]);
}
