import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { cached } from '../system/cached.js';
import { logEntry } from '../systemd/journal-entry.js';
import type { PassedSocket } from '../systemd/listen-fds.js';
import { unmapIPv4 } from '../text/ip-address.js';
import { createConnections } from '../web/connections.js';
import { HTTP_LIMITS } from '../web/http-limits.js';

/** The server ends when nobody has asked for this long, ms; systemd goes on listening. */
const IDLE_MS = 5_000;

/** Scrapes within this time share one rendering, ms. */
const FRESH_MS = 1_000;

/** How long a connection on which nothing moves is kept, ms: a caller that does not read its answer has no place for ever. */
const STILL_MS = 20_000;

const SETTINGS = { ...HTTP_LIMITS, keepAliveTimeout: 1_000 };

/** The most connections; a further one replaces the oldest that nothing was asked on. */
const MAX_CONNECTIONS = 32;

/**
 * Serves `GET /metrics` on listening sockets, until nobody has asked for five seconds.
 *
 * @throws Error when systemd has passed no socket
 */
export async function serveMetrics(sockets: PassedSocket[], render: () => Promise<string>): Promise<void> {
  if (sockets.length === 0) throw new Error('systemd has passed no socket: start wormhole-metrics.socket');
  const text = cached(FRESH_MS, render);
  const connections = createConnections(MAX_CONNECTIONS);
  const servers = sockets.map(({ fd }) => {
    const server = createServer(SETTINGS, (request, response) => {
      connections.keep(request.socket);
      answer(request, response, text).catch((error: Error) => {
        logEntry({
          message: `the figures of links cannot be read: ${error.message}`,
          identifier: 'wormhole-metrics',
          priority: 3,
          about: { event: 'failed' },
        });
        respond(response, 500, 'the figures cannot be read: see journalctl -u wormhole-metrics\n');
      });
    });
    server.setTimeout(STILL_MS);
    server.on('connection', (socket) => {
      connections.add(socket);
      open += 1;
      socket.on('close', () => {
        open -= 1;
        quietSince = performance.now();
      });
    });
    server.listen({ fd });
    return server;
  });
  let open = 0;
  let quietSince = performance.now();
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      if (open > 0 || performance.now() - quietSince < IDLE_MS) return;
      clearInterval(timer);
      resolve();
    }, 500);
  });
  for (const server of servers) server.close();
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  text: () => Promise<string>,
): Promise<void> {
  if (!isForUs(request)) return respond(response, 403, 'the Host header names another host\n');
  if (request.url?.split('?')[0] !== '/metrics') return respond(response, 404, 'see /metrics\n');
  if (request.method !== 'GET' && request.method !== 'HEAD') return respond(response, 405, 'GET it\n');
  respond(response, 200, await text(), 'text/plain; version=0.0.4; charset=utf-8');
}

/** Whether a page of another site asks, whose name leads to this machine's loopback address for the purpose (DNS rebinding). */
function isForUs({ headers: { host = '' }, socket }: IncomingMessage): boolean {
  const local = unmapIPv4(socket.localAddress ?? '');
  if (!local.startsWith('127.') && local !== '::1') return true;
  const name = host.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  return name === '' || name === 'localhost' || isIP(name) !== 0;
}

function respond(response: ServerResponse, status: number, text: string, type = 'text/plain'): void {
  if (response.headersSent) return;
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(text),
    'X-Content-Type-Options': 'nosniff',
  });
  response.end(response.req.method === 'HEAD' ? undefined : text);
}
