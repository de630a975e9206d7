import { constants, randomBytes } from 'node:crypto';
import type { ConnectionOptions, TLSSocket, TlsOptions } from 'node:tls';
import type { Key } from './key.js';

/** How long a handshake may take on either side, ms. */
export const HANDSHAKE_MS = 5_000;

/**
 * Both sides speak TLS 1.3 and nothing else, with an external pre-shared key and a fresh Diffie-Hellman exchange
 * (psk_dhe_ke, RFC 8446, 2.2): who learns the key later cannot read what was said before. There are no certificates.
 * OpenSSL uses such a key with SHA-256 only, hence the one cipher; node wants `PSK` in the list too.
 */
const COMMON = { minVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256:PSK' } as const;

/**
 * The daemon's side. `keys` is called for each handshake, so that a change of the key file counts at once.
 *
 * A stranger's identity gets a key made up on the spot: it fails exactly as a wrong key does. Sessions cannot be taken up
 * again, or they would outlive the key: no ticket holds one, and nobody keeps those that tickets refer to.
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

/** The client's side. What it leaves open, {@link provedKey} checks afterwards. */
export function clientTls(key: Key): ConnectionOptions {
  return {
    ...COMMON,
    pskCallback: () => ({ psk: key.secret, identity: key.identity }),
    // Whoever shows a certificate does not have the key: none is trusted.
    ca: [],
    checkServerIdentity: () => undefined,
  };
}

/** Whether the other side has proved that it has the key: TLS calls a session that began with one resumed. */
export function provedKey(socket: TLSSocket): boolean {
  return socket.isSessionReused() && socket.getCipher().name === 'TLS_AES_128_GCM_SHA256';
}
