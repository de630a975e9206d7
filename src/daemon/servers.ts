import * as http from 'node:http';
import * as https from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type Key, KeyUnusable } from '../api/key.js';
import { serverTls } from '../api/tls.js';
import { unmapIPv4 } from '../text/ip-address.js';
import { createConnectionLimiter } from './connection-limit.js';
import type { Refusals } from './refusals.js';
import { type Access, type RequestContext, serve } from './serve.js';

/** How long a caller may take for its request's headers, and for all of the request, ms. */
const HEADERS_MS = 5_000;
const REQUEST_MS = 10_000;

/** Connections that each server keeps open at most; over TCP, less than half of them without a proved key. */
const MAX_CONNECTIONS = 512;
const UNPROVED = { network: 32, all: 192 };

const SETTINGS = {
  headersTimeout: HEADERS_MS,
  requestTimeout: REQUEST_MS,
  connectionsCheckingInterval: 500,
  keepAliveTimeout: 2_000,
  maxHeaderSize: 8_192,
  noDelay: true,
};

/** The servers of the API. A server listens at one place only, so each place gets one of its own. */
export interface Servers {
  /** Creates a server that does not listen yet: over TLS for TCP, or plain for a unix socket, whose callers may only look with `read`. */
  create(kind: 'tcp' | 'unix', access?: Access): http.Server;
  /** How many connections they have open. */
  open(): number;
  /** Accepts no more connections, and closes those without a request. */
  close(): void;
}

/**
 * Prepares to create servers.
 *
 * @param keys reads the keys, for every handshake
 */
export function createServers(context: RequestContext, keys: () => Key[], refusals: Refusals): Servers {
  const created: http.Server[] = [];
  const limiter = createConnectionLimiter(UNPROVED, refusals.note);
  let connections = 0;

  return {
    create(kind, access = 'all') {
      const answer = answerWith(access);
      const server = kind === 'tcp' ? createTls(answer) : http.createServer(SETTINGS, answer);
      server.maxConnections = MAX_CONNECTIONS;
      // So a connection does not outlive a change of the key for long.
      server.maxRequestsPerSocket = 10;
      server.on('connection', count);
      server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) =>
        refuse(error, socket, refusals),
      );
      created.push(server);
      return server;
    },
    open: () => connections,
    close() {
      for (const server of created) server.close();
    },
  };

  function answerWith(access: Access): http.RequestListener {
    return (request, response) => void serve({ request, response, context, access });
  }

  function createTls(answer: http.RequestListener): https.Server {
    const server = https.createServer({ ...SETTINGS, ...serverTls(usableKeys) }, answer);
    server.on('connection', limiter.add);
    server.on('secureConnection', limiter.exempt);
    server.on('tlsClientError', (error: TlsError, socket: TLSSocket) =>
      limiter.explain(socket, explain(error)),
    );
    return server;
  }

  function count(socket: Socket): void {
    connections++;
    socket.once('close', () => {
      connections--;
      context.onEnd();
    });
  }

  function usableKeys(): Key[] {
    try {
      return keys();
    } catch (error) {
      if (!(error instanceof KeyUnusable)) throw error;
      refusals.note('every caller', `cannot be authenticated: ${error.message}`);
      return [];
    }
  }
}

/** Gives Node's own answer to what is no HTTP, or comes too slowly, and logs it. */
function refuse(error: NodeJS.ErrnoException, socket: Socket, refusals: Refusals): void {
  const status =
    {
      ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
      HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
    }[error.code ?? ''] ?? '400 Bad Request';
  if (error.code !== 'ECONNRESET' && !socket.destroyed) {
    const reason = status.startsWith('408') ? 'took too long over its request' : 'speaks no HTTP';
    refusals.note(unmapIPv4(socket.remoteAddress ?? 'a user of this machine'), reason);
    if (socket.writable) socket.write(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
  }
  socket.destroy();
}

/** OpenSSL's error: `reason` is its own text. */
interface TlsError extends NodeJS.ErrnoException {
  reason?: string;
}

/** Why a handshake failed, as what the caller does; by default in the words of OpenSSL. */
function explain({ code, reason, message }: TlsError): string {
  switch (code) {
    case 'ERR_SSL_BINDER_DOES_NOT_VERIFY':
      return 'has another key';
    case 'ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM':
    case 'ERR_SSL_NO_SHARED_CIPHER':
      return 'proves no key';
    case 'ERR_SSL_UNSUPPORTED_PROTOCOL':
      return 'speaks an older TLS than 1.3';
    case 'ERR_SSL_HTTP_REQUEST':
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_UNKNOWN_PROTOCOL':
      return 'does not speak TLS';
    default:
      return `failed at TLS: ${reason ?? message}`;
  }
}
