import { constants, randomBytes } from 'node:crypto';
import type { ConnectionOptions, TLSSocket, TlsOptions } from 'node:tls';
import type { Key } from './key.js';

/** How long a handshake may take, ms. */
export const HANDSHAKE_MS = 5_000;

/**
 * Both sides speak TLS 1.3 and nothing else, with an external pre-shared key and a fresh Diffie-Hellman exchange
 * (psk_dhe_ke, RFC 8446, 2.2): someone who learns the key later cannot read earlier sessions. There are no certificates.
 * OpenSSL uses such a key with SHA-256 only, hence the one cipher; node wants `PSK` in the list too.
 */
const COMMON = { minVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256:PSK' } as const;

/**
 * The daemon's side. `keys` is called for each handshake, so that a change of the key file takes effect at once.
 *
 * An unknown identity gets a random key: it fails exactly as a wrong key does. Sessions cannot be resumed, or they would
 * outlive the key: no ticket holds one, and none is stored.
 */
export function serverTls(keys: () => Key[]): TlsOptions {
  return {
    ...COMMON,
    handshakeTimeout: HANDSHAKE_MS,
    secureOptions: constants.SSL_OP_NO_TICKET,
    pskCallback: (_socket, identity) =>
      keys().find((key) => key.identity === identity)?.secret ?? randomBytes(32),
  };
}

/** The client's side. {@link hasProvedKey} checks afterwards what it leaves open. */
export function clientTls(key: Key): ConnectionOptions {
  return {
    ...COMMON,
    pskCallback: () => ({ psk: key.secret, identity: key.identity }),
    // A server that shows a certificate does not have the key: no certificate is trusted.
    ca: [],
    checkServerIdentity: () => undefined,
  };
}

/** Whether the other side has proved that it has the key: TLS calls a session that began with a key resumed. */
export function hasProvedKey(socket: TLSSocket): boolean {
  return socket.isSessionReused() && socket.getCipher().name === 'TLS_AES_128_GCM_SHA256';
}
