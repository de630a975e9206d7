import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import * as v from 'valibot';
import { unmapIPv4 } from '../text/ip-address.js';
import type { CreateOptions } from '../units/plan.js';
import { check } from './check.js';
import { connectMachine, type Machine, Unreachable } from './connect.js';
import { endpointText } from './endpoint.js';
import { Failure, isFailureCode } from './failure.js';
import {
  type CreateBody,
  type CreatedLink,
  createdLink,
  errorBody,
  type LinkChange,
  type Listing,
  listing,
  type PartBody,
  PROGRESS_INTERVAL_MS,
  type Preview,
  type ProgramVersion,
  preview,
  programVersion,
} from './schema.js';
import { type TunnelListing, tunnelListing } from './tunnel-schema.js';

/** A daemon that sends nothing for this long while it works counts as gone, ms. */
const SILENCE_MS = 4 * PROGRESS_INTERVAL_MS;

/** Requests of ping before the one that is timed. */
const WARM_UP = 3;

/**
 * Creates a link on a machine, as `wormhole create` does there.
 *
 * @param recipe the words of the recipe
 * @throws Failure as the machine reports it; Unreachable, when the link may have been created or not; KeyUnusable
 */
export async function createAt(
  machine: Machine,
  recipe: string[],
  options: Partial<CreateOptions> = {},
): Promise<CreatedLink> {
  const body: CreateBody = { recipe, options };
  return checkAnswer(createdLink, await ask(machine, { method: 'POST', path: '/v1/links', body }));
}

/** The unit files that {@link createAt} would write there. @throws as createAt */
export async function previewAt(
  machine: Machine,
  recipe: string[],
  options: Partial<CreateOptions> = {},
): Promise<Preview> {
  const body: CreateBody = { recipe, options: { ...options, dryRun: true } };
  return checkAnswer(preview, await ask(machine, { method: 'POST', path: '/v1/links', body }));
}

/** Deletes a link on a machine. @throws Failure, `not-found` when there is none of that id; Unreachable, KeyUnusable */
export async function deleteAt(machine: Machine, id: string): Promise<void> {
  await ask(machine, { method: 'DELETE', path: `/v1/links/${encodeURIComponent(id)}` });
}

/** Stops, starts or puts to sleep a link on a machine. @throws Failure, `not-found`; Unreachable, KeyUnusable */
export async function changeAt(machine: Machine, id: string, change: LinkChange): Promise<void> {
  await ask(machine, { method: 'POST', path: `/v1/links/${encodeURIComponent(id)}/${change}` });
}

/** The far part of a link as a machine created it, and the address by which that machine was `reached`. */
export interface CreatedPart extends CreatedLink {
  reached: string;
}

/**
 * Makes a machine create its part of a link of ours, or tell its address if it exists: the same however often it is asked.
 *
 * @param partId by which it knows the part, 32 hexadecimal digits
 * @throws as createAt
 */
export function createPartAt(machine: Machine, partId: string, body: PartBody): Promise<CreatedPart> {
  return withConnection(machine, async (request, { remote: reached }) => {
    const answer = await request({ method: 'PUT', path: `/v1/parts/${partId}`, body });
    return { ...checkAnswer(createdLink, answer), reached };
  });
}

/** Makes a machine delete its part of a link of ours. @throws Failure, `not-found` when it has none; Unreachable, KeyUnusable */
export async function deletePartAt(machine: Machine, partId: string): Promise<void> {
  await ask(machine, { method: 'DELETE', path: `/v1/parts/${partId}` });
}

/** Makes a machine delete its side of a tunnel. @throws Failure, `not-found` when it has none; Unreachable, KeyUnusable */
export async function deleteTunnelAt(machine: Machine, id: string): Promise<void> {
  await ask(machine, { method: 'DELETE', path: `/v1/tunnels/${id}` });
}

/** Lists the links of a machine. @throws Failure, Unreachable, KeyUnusable */
export async function listAt(machine: Machine): Promise<Listing> {
  return checkAnswer(listing, await ask(machine, { method: 'GET', path: '/v1/links' }));
}

/** Lists the tunnels of a machine. @throws Failure, Unreachable, KeyUnusable */
export async function listTunnelsAt(machine: Machine): Promise<TunnelListing> {
  return checkAnswer(tunnelListing, await ask(machine, { method: 'GET', path: '/v1/tunnels' }));
}

/** Asks a machine for the version of its daemon. @throws Failure, Unreachable, KeyUnusable */
export async function versionAt(machine: Machine): Promise<ProgramVersion> {
  return checkAnswer(programVersion, await ask(machine, { method: 'GET', path: '/v1/version' }));
}

/**
 * How long a machine's daemon takes to answer over a connection that is open already, ms.
 *
 * @throws Failure, Unreachable, KeyUnusable
 */
export async function ping(machine: Machine): Promise<number> {
  return withConnection(machine, async (request) => {
    const echo = { method: 'GET', path: '/v1/ping' };
    // The first ones run code that neither side has compiled yet.
    for (let n = 0; n < WARM_UP; n++) await request(echo);
    const began = performance.now();
    await request(echo);
    return performance.now() - began;
  });
}

/** A request of the API: an HTTP method, a path, and the body, if any. */
export interface ApiRequest {
  method: string;
  path: string;
  body?: unknown;
}

/** Sends one request and returns the body of the answer. @throws Failure, Unreachable */
export type SendRequest = (request: ApiRequest) => Promise<unknown>;

/** The addresses of a connection to a machine, without brackets, IPv4 as IPv4; empty for a unix socket. */
export interface ConnectionEnds {
  local: string;
  remote: string;
}

function ask(machine: Machine, request: ApiRequest): Promise<unknown> {
  return withConnection(machine, (send) => send(request));
}

function checkAnswer<T extends v.GenericSchema>(schema: T, answer: unknown): v.InferOutput<T> {
  return check(schema, answer, 'the answer');
}

/**
 * Runs `use` with a connection to a machine, over which it can send one request after another, with less than two seconds
 * between an answer and the next request: the daemon does not keep silent callers.
 *
 * @throws Unreachable, KeyUnusable; what `use` throws
 */
export async function withConnection<T>(
  machine: Machine,
  use: (send: SendRequest, ends: ConnectionEnds) => Promise<T>,
): Promise<T> {
  const socket = await connectMachine(machine);
  const ends = { local: unmapIPv4(socket.localAddress ?? ''), remote: unmapIPv4(socket.remoteAddress ?? '') };
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  agent.createConnection = () => socket;
  try {
    return await use(
      (request) => exchange(request, { where: endpointText(machine.endpoint), socket, agent }),
      ends,
    );
  } finally {
    agent.destroy();
    socket.destroy();
  }
}

interface Connection {
  /** The machine, for messages. */
  where: string;
  socket: Socket;
  agent: Agent;
}

async function exchange(request: ApiRequest, connection: Connection): Promise<unknown> {
  const { status, body } = await send(request, connection);
  if (status === 204) return undefined;
  const answer = parseJson(body);
  if (status < 300 && answer !== undefined) return answer;
  const error = v.safeParse(errorBody, answer);
  if (!error.success)
    throw new Failure('failed', `${connection.where} gives an answer (${status}) that is no wormholed's`);
  const { code, message } = error.output.error;
  throw new Failure(isFailureCode(code) ? code : 'failed', message);
}

function send(
  { method, path, body }: ApiRequest,
  { where, socket, agent }: Connection,
): Promise<{ status: number; body: string }> {
  const text = body === undefined ? '' : JSON.stringify(body);
  const headers =
    text === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const request = httpRequest({ agent, method, path, headers: { host: 'wormholed', ...headers } });
    const lost = (reason: string) => reject(new Unreachable(`${where} ${reason}`, true));
    const silence = setTimeout(() => {
      lost(`has said nothing for ${SILENCE_MS / 1000} s: is it still there?`);
      socket.destroy();
    }, SILENCE_MS);
    request.on('information', () => silence.refresh());
    request.on('error', ({ message }) => lost(`has gone away before it answered (${message})`));
    request.on('response', (response: IncomingMessage) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        silence.refresh();
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
      response.on('error', ({ message }) => lost(`has broken off its answer (${message})`));
    });
    request.on('close', () => clearTimeout(silence));
    request.end(text);
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
