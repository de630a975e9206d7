import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { CreateOptions } from '../../units/plan.js';
import type { Created } from '../create.js';
import type { Listing } from '../list.js';
import type { TunnelListing } from '../tunnel/list.js';
import { addressText } from './address.js';
import { unmapped } from './caller.js';
import { connectMachine, type Machine, Unreachable } from './connect.js';
import { Failure, isFailureCode } from './failure.js';
import { type CreateRequest, type PartRequest, type Plan, SIGN_OF_LIFE_MS, type Version } from './schema.js';

/** A daemon that says nothing for so long while it works is taken to be gone, ms. */
const SILENCE_MS = 4 * SIGN_OF_LIFE_MS;

/** How many echoes go before the one that ping tells of. */
const WARM_UP = 3;

/**
 * Makes a link on a machine, as `wormhole create` does there.
 *
 * @param recipe the words of the recipe
 * @throws Failure as the machine tells it; Unreachable, when the link may have been made or not; KeyUnusable
 */
export function createAt(
  machine: Machine,
  recipe: string[],
  options: Partial<CreateOptions> = {},
): Promise<Created> {
  const body: CreateRequest = { recipe, options };
  return once(machine, 'POST', '/v1/links', body) as Promise<Created>;
}

/** The unit files that {@link createAt} would write there. @throws as createAt */
export function planAt(
  machine: Machine,
  recipe: string[],
  options: Partial<CreateOptions> = {},
): Promise<Plan> {
  const body: CreateRequest = { recipe, options: { ...options, dryRun: true } };
  return once(machine, 'POST', '/v1/links', body) as Promise<Plan>;
}

/** Deletes a link on a machine. @throws Failure, `not-found` when there is none of that id; Unreachable, KeyUnusable */
export async function deleteAt(machine: Machine, id: string): Promise<void> {
  await once(machine, 'DELETE', `/v1/links/${encodeURIComponent(id)}`);
}

/** The far part of a link as a machine made it, and the address by which that machine was `reached`. */
export interface MadePart extends Created {
  reached: string;
}

/**
 * Has a machine make its part of a link of ours, or tell of it if it has: the same however often it is asked.
 *
 * @param key by which it knows the part, 32 hexadecimal digits
 * @throws as createAt
 */
export function makePartAt(machine: Machine, key: string, body: PartRequest): Promise<MadePart> {
  return withLine(machine, async (ask, { remote: reached }) => {
    return { ...((await ask('PUT', `/v1/parts/${key}`, body)) as Created), reached };
  });
}

/** Has a machine remove its part of a link of ours. @throws Failure, `not-found` when it has none; Unreachable, KeyUnusable */
export async function removePartAt(machine: Machine, key: string): Promise<void> {
  await once(machine, 'DELETE', `/v1/parts/${key}`);
}

/** Has a machine remove its side of a tunnel. @throws Failure, `not-found` when it has none of that id; Unreachable, KeyUnusable */
export async function removeTunnelAt(machine: Machine, id: string): Promise<void> {
  await once(machine, 'DELETE', `/v1/tunnels/${id}`);
}

/** Lists the links of a machine. @throws Failure, Unreachable, KeyUnusable */
export function listAt(machine: Machine): Promise<Listing> {
  return once(machine, 'GET', '/v1/links') as Promise<Listing>;
}

/** Lists the tunnels of a machine. @throws Failure, Unreachable, KeyUnusable */
export function tunnelsAt(machine: Machine): Promise<TunnelListing> {
  return once(machine, 'GET', '/v1/tunnels') as Promise<TunnelListing>;
}

/** Asks a machine for the version of its daemon. @throws Failure, Unreachable, KeyUnusable */
export function versionAt(machine: Machine): Promise<Version> {
  return once(machine, 'GET', '/v1/version') as Promise<Version>;
}

/**
 * How long a machine's daemon takes for one echo, ms. The connection is there already, and the daemon awake.
 *
 * @throws Failure, Unreachable, KeyUnusable
 */
export async function ping(machine: Machine): Promise<number> {
  return withLine(machine, async (ask) => {
    // The first ones meet code that has not run yet, here and there.
    for (let n = 0; n < WARM_UP; n++) await ask('GET', '/v1/ping');
    const began = performance.now();
    await ask('GET', '/v1/ping');
    return performance.now() - began;
  });
}

/** Asks one thing of a machine: an HTTP method, a path of the API, and the body. @throws Failure, Unreachable */
export type Ask = (method: string, path: string, body?: unknown) => Promise<unknown>;

/** The addresses of a connection to a machine, without brackets, IPv4 as IPv4; empty for a unix socket. */
export interface Ends {
  local: string;
  remote: string;
}

function once(machine: Machine, method: string, path: string, body?: unknown): Promise<unknown> {
  return withLine(machine, (ask) => ask(method, path, body));
}

/**
 * Runs `use` with a connection to a machine, over which it can ask one thing after another, with less than two seconds
 * between an answer and the next question: the daemon does not keep silent callers.
 *
 * @throws Unreachable, KeyUnusable; what `use` throws
 */
export async function withLine<T>(machine: Machine, use: (ask: Ask, ends: Ends) => Promise<T>): Promise<T> {
  const socket = await connectMachine(machine);
  const ends = { local: unmapped(socket.localAddress ?? ''), remote: unmapped(socket.remoteAddress ?? '') };
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  agent.createConnection = () => socket;
  try {
    const ask: Ask = (method, path, body) => exchange(machine, socket, agent, { method, path, body });
    return await use(ask, ends);
  } finally {
    agent.destroy();
    socket.destroy();
  }
}

interface Question {
  method: string;
  path: string;
  body: unknown;
}

async function exchange(machine: Machine, socket: Socket, agent: Agent, asked: Question): Promise<unknown> {
  const where = addressText(machine.address);
  const text = asked.body === undefined ? '' : JSON.stringify(asked.body);
  const headers =
    text === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  const { status, body } = await new Promise<{ status: number; body: string }>((resolve, reject) => {
    const { method, path } = asked;
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
  if (status === 204) return undefined;
  const answer = parse(body);
  if (status < 300 && answer !== undefined) return answer;
  throw (
    failureIn(answer) ?? new Failure('failed', `${where} gives an answer (${status}) that is no wormholed's`)
  );
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function failureIn(answer: unknown): Failure | undefined {
  const { error } = (answer ?? {}) as { error?: { code?: unknown; message?: unknown } };
  if (typeof error?.message !== 'string') return undefined;
  return new Failure(isFailureCode(error.code) ? error.code : 'failed', error.message);
}
