import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { Failure } from '../api/failure.js';
import { readIfExists, writeAtomically } from '../system/files.js';
import { familyOf } from '../system/socket-options.js';
import { logEntry } from '../systemd/journal-entry.js';
import type { PassedSocket } from '../systemd/listen-fds.js';
import { unmapIPv4 } from '../text/ip-address.js';
import { type Refusal, refusalOf } from './access.js';
import { type BrowserLogins, LOGIN_MS, readLogins } from './browser-logins.js';
import { type Connections, createConnections } from './connections.js';
import { type History, readHistory } from './history.js';
import { HTTP_LIMITS } from './http-limits.js';
import { cookieOf, FILES, type Route, routeOf } from './route.js';
import { createSource, type Source } from './source.js';
import { createTokens, type Tokens } from './tokens.js';

/** The most connections; a further one replaces the oldest that belongs to no session. */
const MAX_CONNECTIONS = 64;

const SETTINGS = { ...HTTP_LIMITS, keepAliveTimeout: 10_000 };

/** Sent with every answer. What the page may load is its own script and style, and what it may ask is this server. */
const HEADERS = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(), geolocation=(), microphone=()',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
};

/** What the server works with. */
interface Context {
  tokens: Tokens;
  logins: BrowserLogins;
  history: History;
  source: Source;
  /** The directory with the files of the page. */
  page: string;
  /** Called for each request of a session. */
  onUse(socket: Socket): void;
  onOpen(): void;
}

interface Answer {
  status: number;
  type: string;
  body: string | Buffer;
  headers?: Record<string, string>;
}

/** How the server is started. */
export interface WebSettings {
  /** The directory for what the next process needs. */
  state: string;
  /** The directory with the files of the page. */
  page: string;
  /** The server ends when no page has asked for this long, ms. */
  idle: number;
}

/**
 * Serves the page on the sockets that systemd has passed, until no page has asked for a while: to browsers on those of TCP, and tokens on
 * the unix socket, which is for root. systemd goes on listening.
 *
 * @throws Error when systemd has passed no socket, or one that other machines reach
 */
export async function serveWeb(sockets: PassedSocket[], { state, page, idle }: WebSettings): Promise<void> {
  if (sockets.length === 0) throw new Error('systemd has passed no socket: start wormholed-web.socket');
  const sessionFile = join(state, 'sessions');
  const historyFile = join(state, 'history');
  const history = readHistory(readIfExists(historyFile));
  const tokens = createTokens(() => performance.now());
  const logins = readLogins(Date.now, readIfExists(sessionFile));
  const connections = createConnections(MAX_CONNECTIONS);
  let lastUse = performance.now();
  const context: Context = {
    ...{ tokens, logins, history, page, source: createSource(history) },
    onUse(socket) {
      lastUse = performance.now();
      connections.keep(socket);
    },
    onOpen: () => writeAtomically(sessionFile, logins.save(), { mode: 0o600 }),
  };
  const servers = await listenOn(sockets, context, connections);
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      if (tokens.pending() || performance.now() - lastUse < idle) return;
      end();
    }, 1_000);
    const end = () => {
      clearInterval(timer);
      resolve();
    };
    process.once('SIGTERM', end);
  });
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
  writeAtomically(historyFile, history.save(), { mode: 0o600 });
}

/** Opens the servers. Browsers get theirs first, since a token leads there. @throws Error, when the page would not be for this machine alone */
async function listenOn(
  sockets: PassedSocket[],
  context: Context,
  connections: Connections,
): Promise<Server[]> {
  const families = sockets.map(({ fd }) => ({ fd, family: familyOf(fd) }));
  const urls: string[] = [];
  const servers: Server[] = [];
  for (const { fd } of families.filter(({ family }) => family === 'tcp')) {
    const server = createWorker((request) => answer(request, context));
    server.on('connection', connections.add);
    servers.push(await listen(server, fd));
    urls.push(requireLoopback(server.address() as AddressInfo));
  }
  for (const { fd } of families.filter(({ family }) => family === 'unix'))
    servers.push(
      await listen(
        createWorker((request) => answerRoot(request, context, urls)),
        fd,
      ),
    );
  return servers;
}

function createWorker(work: (request: IncomingMessage) => Promise<Answer>): Server {
  return createServer(SETTINGS, (request, response) => {
    work(request).then(
      (sent) => send(response, sent),
      (error: Error) => send(response, failed(error)),
    );
  });
}

function listen(server: Server, fd: number): Promise<Server> {
  return new Promise((resolve) => server.listen({ fd }, () => resolve(server)));
}

/** What the page shows is for users of this machine. @throws Error */
function requireLoopback({ address, port }: AddressInfo): string {
  const ip = unmapIPv4(address);
  if (ip === '127.0.0.1' || ip === '::1') return `http://${ip.includes(':') ? `[${ip}]` : ip}:${port}/`;
  throw new Error(
    `wormholed-web.socket listens at ${address}, which others may reach: ListenStream= must be 127.0.0.1:PORT or [::1]:PORT`,
  );
}

/** Root asks for a token: `POST /token`. */
async function answerRoot(
  { method, url }: IncomingMessage,
  { tokens }: Context,
  urls: string[],
): Promise<Answer> {
  const base = urls[0];
  if (method !== 'POST' || url !== '/token' || base === undefined)
    return text(404, 'this socket has POST /token only\n');
  return json({ url: `${base}?token=${tokens.issue()}` });
}

async function answer(request: IncomingMessage, context: Context): Promise<Answer> {
  const refusal = refusalOf(request.method ?? '', request.headers);
  if (refusal) return refuse(refusal);
  const route = routeOf(request.url ?? '');
  if (!route) return refuse({ status: 404, reason: 'there is no such page' });
  if (route.kind === 'enter') return enter(route.token, context);
  if (!context.logins.isOpen(route.session, cookieOf(request.headers.cookie)))
    return refuse({ status: 403, reason: 'this page is not open: run wormhole web' });
  context.onUse(request.socket);
  return read(route, context);
}

/** Opens a session. The browser goes on to its path by itself: after a redirect, it would withhold a cookie with SameSite=Strict. */
function enter(token: string, { tokens, logins, onOpen }: Context): Answer {
  if (!tokens.redeem(token))
    return refuse({
      status: 403,
      reason: 'this address has been used, or is older than two minutes: run wormhole web again',
    });
  const { id, secret } = logins.open();
  onOpen();
  // For a document without an icon, a browser asks for /favicon.ico.
  const head = `<meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/${id}/"><title>Wormhole</title>`;
  const body = `<!doctype html>${head}<link rel="icon" href="/${id}/icon.svg" type="image/svg+xml">\n`;
  const cookie = `wormhole=${secret}; Path=/${id}/; Max-Age=${LOGIN_MS / 1000}; HttpOnly; SameSite=Strict`;
  return { status: 200, type: FILES['index.html'] ?? '', body, headers: { 'Set-Cookie': cookie } };
}

async function read(route: Exclude<Route, { kind: 'enter' }>, context: Context): Promise<Answer> {
  const { source, history, page } = context;
  switch (route.kind) {
    case 'file':
      return { status: 200, type: FILES[route.name] ?? '', body: readFileSync(join(page, route.name)) };
    case 'overview':
      return json(await source.overview());
    case 'link':
      return json(await source.details(route.id));
    case 'history':
      return json(
        route.id === undefined ? history.totals(Date.now()) : history.ratesOf(route.id, Date.now()),
      );
  }
}

function refuse({ status, reason }: Refusal): Answer {
  return text(status, `${reason}\n`);
}

/** What cannot be read is told to the page; the journal has it too, unless the page has asked for a link that is gone. */
function failed(error: Error): Answer {
  const isGone = error instanceof Failure && error.code === 'not-found';
  if (!isGone)
    logEntry({
      message: `what the page shows cannot be read: ${error.message}`,
      identifier: 'wormholed-web',
      priority: 3,
      about: { event: 'failed' },
    });
  return json({ error: error.message }, isGone ? 404 : 503);
}

function text(status: number, body: string): Answer {
  return { status, type: 'text/plain; charset=utf-8', body };
}

function json(value: unknown, status = 200): Answer {
  return { status, type: 'application/json', body: JSON.stringify(value) };
}

function send(response: ServerResponse, { status, type, body, headers }: Answer): void {
  response.on('error', () => {});
  response.writeHead(status, {
    ...HEADERS,
    ...headers,
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    // The rest of a refused body is not awaited.
    ...(!response.req.complete && { Connection: 'close' }),
    ...(status === 405 && { Allow: 'GET' }),
  });
  response.end(response.req.method === 'HEAD' ? undefined : body);
}
