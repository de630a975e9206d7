import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TunnelSettings } from '../tunnel/settings.js';
import { hasBody, readBody } from './body.js';
import { callerOf, callerText } from './caller.js';
import type { CarryOut } from './carry-out.js';
import { Failure, failureOf } from './failure.js';
import type { Log } from './log.js';
import { findRoute, type Task } from './routes.js';
import { type ErrorBody, SIGN_OF_LIFE_MS } from './schema.js';

/** How many requests are worked on at once; those that change something wait for each other anyway. */
const MAX_WORKING = 64;

/** The requests that are being worked on, and what they need. */
export interface Desk {
  carryOut: CarryOut;
  settings: TunnelSettings;
  log: Log;
  working: number;
  /** Called after each connection and each piece of work that ends: there may be nothing left to do. */
  rest(): void;
}

/** Answers one request. Whatever its client does meanwhile, work that has begun is brought to its end. Never throws. */
export async function serve(request: IncomingMessage, response: ServerResponse, desk: Desk): Promise<void> {
  response.on('error', () => {});
  desk.working++;
  try {
    const task = await read(request, desk);
    const { status, body } = await carry(task, request, response, desk);
    send(response, status, body);
  } catch (error) {
    const { code, message, status } = failureOf(error);
    const body: ErrorBody = { error: { code, message } };
    // What is left of a body that was refused is not waited for.
    if (!request.complete) response.setHeader('connection', 'close');
    send(response, status, body);
  } finally {
    if (!response.closed) await once(response, 'close');
    desk.working--;
    desk.rest();
  }
}

async function read(request: IncomingMessage, { carryOut, settings, working }: Desk): Promise<Task> {
  const route = findRoute(request.method ?? '', request.url ?? '', carryOut, settings);
  if (!route.takesBody && hasBody(request)) throw new Failure('usage', `${request.url} takes no body`);
  if (working > MAX_WORKING) {
    throw new Failure('busy', `this wormholed works on ${MAX_WORKING} requests already; try again later`);
  }
  return route.read(route.takesBody ? await readBody(request) : undefined);
}

async function carry(task: Task, request: IncomingMessage, response: ServerResponse, { log }: Desk) {
  const caller = callerOf(request.socket);
  const began = performance.now();
  const tell = (result: string) => {
    if (task.change === undefined) return;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    const gone = response.closed ? '; the caller had gone away' : '';
    log.info(`${callerText(caller)}: ${task.change}: ${result} (${seconds} s${gone})`);
  };
  const sign = setInterval(() => {
    if (request.httpVersion === '1.1' && !response.closed) response.writeProcessing();
  }, SIGN_OF_LIFE_MS);
  try {
    const answer = await task.run(caller);
    tell(answer.told ?? '');
    return answer;
  } catch (error) {
    const { code, message } = failureOf(error);
    tell(`${code}: ${message}`);
    throw error;
  } finally {
    clearInterval(sign);
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = body === undefined ? '' : `${JSON.stringify(body)}\n`;
  if (text !== '') response.setHeader('content-type', 'application/json');
  response.writeHead(status, status === 204 ? {} : { 'content-length': Buffer.byteLength(text) }).end(text);
}
