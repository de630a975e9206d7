import type { IncomingMessage, ServerResponse } from 'node:http';
import { Failure } from '../api/failure.js';
import { requireAllowed } from '../api/require-allowed.js';
import { type ErrorBody, PROGRESS_INTERVAL_MS, SESSION_PATH } from '../api/schema.js';
import type { ServiceEvent } from '../systemd/journal-entry.js';
import type { TunnelSettings } from '../tunnels/settings.js';
import { hasBody, readBody } from './body.js';
import { callerOf, callerText } from './caller.js';
import { failureOf } from './error-response.js';
import type { Log } from './log.js';
import type { Operations } from './operations.js';
import { findReadRoute } from './read-routes.js';
import type { Answer, Task } from './route.js';
import { findRoute } from './routes.js';
import { openSession } from './session.js';

/** How many requests are worked on at once; those that change something wait for each other anyway. */
const MAX_WORKING = 64;

/** How long a caller may take nothing of an answer, ms. */
const TAKE_MS = 30_000;

/** What all requests share. */
export interface RequestContext {
  operations: Operations;
  settings: TunnelSettings;
  log: Log;
  /** Requests that are being worked on, of those who may do everything, and of those who may only look. */
  working: number;
  reading: number;
  /** Called after each connection and each request that ends: there may be nothing left to do. */
  onEnd(): void;
}

/** What a caller may do: all of the API, or only look. */
export type Access = 'all' | 'read';

/** Answers one request. Work that has begun is completed, even if the client goes away. Never throws. */
export async function serve({
  request,
  response,
  context,
  access,
}: {
  request: IncomingMessage;
  response: ServerResponse;
  context: RequestContext;
  access: Access;
}): Promise<void> {
  response.on('error', () => {});
  const kind = access === 'read' ? 'reading' : 'working';
  context[kind]++;
  try {
    const answer =
      access === 'all' && request.url === SESSION_PATH
        ? { status: 200, body: await openSession(request) }
        : await runTask({ request, response, context, access });
    send(request, response, answer);
  } catch (error) {
    const { code, message, status } = failureOf(error);
    const body: ErrorBody = { error: { code, message } };
    // The rest of a refused body is not awaited.
    if (!request.complete) response.setHeader('connection', 'close');
    send(request, response, { status, body });
  } finally {
    await answered(request, response);
    context[kind]--;
    context.onEnd();
  }
}

/** Waits until an answer has been taken, or nobody can take it any more. */
function answered(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { socket } = request;
  if (response.closed || socket.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      response.off('close', done);
      socket.off('close', done);
      resolve();
    };
    response.on('close', done);
    // An answer that waits for its turn behind another one is not closed with its connection.
    socket.on('close', done);
  });
}

async function read(
  request: IncomingMessage,
  { operations, settings, ...context }: RequestContext,
  access: Access,
): Promise<Task> {
  const route =
    access === 'read' ? findReadRoute(request, operations) : findRoute(request, operations, settings);
  if (!route.takesBody && hasBody(request)) throw new Failure('usage', `${request.url} takes no body`);
  if ((access === 'read' ? context.reading : context.working) > MAX_WORKING) {
    throw new Failure('busy', `this wormholed works on ${MAX_WORKING} requests already; try again later`);
  }
  const isRead = route.takesBody === 'optional' ? hasBody(request) : route.takesBody;
  return route.read(isRead ? await readBody(request) : undefined);
}

interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  context: RequestContext;
  access: Access;
}

async function runTask({ request, response, context, access }: Exchange): Promise<Answer> {
  const caller = callerOf(request.socket);
  const task = await read(request, context, access);
  // It may have been refused since its request began.
  if (caller.kind === 'machine') requireAllowed(caller.id);
  const { log } = context;
  const began = performance.now();
  const logResult = (result: string, event: ServiceEvent, link = task.link) => {
    if (task.change === undefined) return;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    const gone = response.closed ? '; the caller had gone away' : '';
    log.info(`${callerText(caller)}: ${task.change}: ${result} (${seconds} s${gone})`, {
      event,
      ...(link !== undefined && { link }),
      ...(caller.kind === 'machine' && { peer: caller.address }),
    });
  };
  const progress = setInterval(() => {
    if (request.httpVersion === '1.1' && !response.closed) response.writeProcessing();
  }, PROGRESS_INTERVAL_MS);
  try {
    const answer = await task.run(caller);
    logResult(answer.logged ?? '', 'changed', answer.link);
    return answer;
  } catch (error) {
    const { code, message } = failureOf(error);
    logResult(`${code}: ${message}`, 'failed');
    throw error;
  } finally {
    clearInterval(progress);
  }
}

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const { status, body } = answer;
  // Node ends a connection on which nothing has moved for so long, and waits for the next request as it does otherwise.
  request.socket.setTimeout(TAKE_MS);
  const text = body === undefined ? '' : `${JSON.stringify(body)}\n`;
  if (text !== '') response.setHeader('content-type', 'application/json');
  response.writeHead(status, status === 204 ? {} : { 'content-length': Buffer.byteLength(text) }).end(text);
}
