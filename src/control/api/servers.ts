import * as http from 'node:http';
import * as https from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { unmapped } from './caller.js';
import { createCrowd } from './crowd.js';
import { type Key, KeyUnusable } from './key.js';
import type { Refusals } from './refusals.js';
import { type Desk, serve } from './serve.js';
import { serverTls } from './tls.js';

/** How long a caller may take for its request's headers, and for all of the request, ms. */
const HEADERS_MS = 5_000;
const REQUEST_MS = 10_000;

/** Connections that each server keeps open at the most; of those over TCP, strangers have less than half. */
const MAX_CONNECTIONS = 512;
const STRANGERS = { network: 32, all: 192 };

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
  /** Makes a server that does not listen yet: over TLS for TCP, or plain for a unix socket. */
  make(kind: 'tcp' | 'unix'): http.Server;
  /** How many connections they have open. */
  open(): number;
  /** Accepts no more connections, and ends those over which nothing is asked at the moment. */
  close(): void;
}

/**
 * Prepares to make servers.
 *
 * @param keys reads the keys, for every handshake
 */
export function createServers(desk: Desk, keys: () => Key[], refusals: Refusals): Servers {
  const made: http.Server[] = [];
  const crowd = createCrowd(STRANGERS, refusals.note);
  let connections = 0;

  return {
    make(kind) {
      const server = kind === 'tcp' ? makeTls() : http.createServer(SETTINGS, answer);
      server.maxConnections = MAX_CONNECTIONS;
      // A connection over which the key was once proved does not last.
      server.maxRequestsPerSocket = 10;
      server.on('connection', count);
      server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) =>
        turnAway(error, socket, refusals),
      );
      made.push(server);
      return server;
    },
    open: () => connections,
    close() {
      for (const server of made) server.close();
    },
  };

  function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    void serve(request, response, desk);
  }

  function makeTls(): https.Server {
    const server = https.createServer({ ...SETTINGS, ...serverTls(usableKeys) }, answer);
    server.on('connection', crowd.enter);
    server.on('secureConnection', crowd.know);
    server.on('tlsClientError', (error: TlsError, socket: TLSSocket) =>
      crowd.explain(socket, explain(error)),
    );
    return server;
  }

  function count(socket: Socket): void {
    connections++;
    socket.once('close', () => {
      connections--;
      desk.rest();
    });
  }

  function usableKeys(): Key[] {
    try {
      return keys();
    } catch (error) {
      if (!(error instanceof KeyUnusable)) throw error;
      refusals.note('everybody', `cannot be told from strangers: ${error.message}`);
      return [];
    }
  }
}

/** node's own answer to what is no HTTP, or comes too slowly, and a line about it. */
function turnAway(error: NodeJS.ErrnoException, socket: Socket, refusals: Refusals): void {
  const status =
    {
      ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
      HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
    }[error.code ?? ''] ?? '400 Bad Request';
  if (error.code !== 'ECONNRESET' && !socket.destroyed) {
    const reason = status.startsWith('408') ? 'took too long over its request' : 'speaks no HTTP';
    refusals.note(unmapped(socket.remoteAddress ?? 'a user of this machine'), reason);
    if (socket.writable) socket.write(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
  }
  socket.destroy();
}

/** OpenSSL's error: `reason` is its own text. */
interface TlsError extends NodeJS.ErrnoException {
  reason?: string;
}

/** Why a handshake failed, as what the caller does; in the words of OpenSSL where there are no better ones. */
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
