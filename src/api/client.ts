import { TLSSocket } from 'node:tls';
import { unmapIPv4 } from '../text/ip-address.js';
import { checkAnswer } from './check.js';
import { connectMachine, type Machine } from './connect.js';
import { endpointText } from './endpoint.js';
import { type ApiRequest, openConnection, type SendRequest } from './exchange.js';
import { Failure } from './failure.js';
import { identify } from './identify.js';
import {
  type LinkDetails,
  type Listing,
  linkDetails,
  listing,
  type TrafficReport,
  trafficReport,
} from './listing-schema.js';
import {
  type CreateBody,
  type CreatedLink,
  type CreatedPart,
  createdLink,
  createdPart,
  type DeleteBody,
  deletedLink,
  type LinkCommand,
  type PartBody,
  type Preview,
  type ProgramVersion,
  pong,
  preview,
  programVersion,
} from './schema.js';

import { type TunnelListing, tunnelListing } from './tunnel-schema.js';

/** How long a create may take, ms: it may pull images. */
const CREATE_MS = 3_600_000;

/** How long a delete or another change may take, ms: it waits for other commands, and containers have time to end. */
const CHANGE_MS = 600_000;

/** The longest list that is read, bytes. */
const LONGEST_LIST = 8 * 1024 * 1024;

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
  options: CreateBody['options'] = {},
): Promise<CreatedLink> {
  const body: CreateBody = { recipe, options };
  const request = { method: 'POST', path: '/v1/links', body, timeout: CREATE_MS };
  return checkAnswer(createdLink, await ask(machine, request));
}

/** The unit files that {@link createAt} would write there. @throws as createAt */
export async function previewAt(
  machine: Machine,
  recipe: string[],
  options: CreateBody['options'] = {},
): Promise<Preview> {
  const body: CreateBody = { recipe, options: { ...options, dryRun: true } };
  const request = { method: 'POST', path: '/v1/links', body, longest: LONGEST_LIST, multiline: true };
  return checkAnswer(preview, await ask(machine, request));
}

/**
 * Deletes a link on a machine. One of an older version takes no body, and does not tell what is left.
 *
 * @returns what is left of it, or goes that somebody had added: a line each, for people
 * @throws Failure, `not-found` when there is none of that id; Unreachable, KeyUnusable
 */
export async function deleteAt(machine: Machine, id: string, body: DeleteBody = {}): Promise<string[]> {
  const path = `/v1/links/${encodeURIComponent(id)}`;
  const request = { method: 'DELETE', path, timeout: CHANGE_MS };
  try {
    return checkAnswer(deletedLink, await ask(machine, { ...request, body })).left;
  } catch (error) {
    if (!(error instanceof Failure && error.code === 'usage' && / takes no body$/.test(error.message)))
      throw error;
    if (body.volumes || body.keep)
      throw new Failure(
        'usage',
        `the machine has an older version of Wormhole, which deletes links without ${body.volumes ? '--volumes' : '--keep'}: upgrade Wormhole there`,
      );
    await ask(machine, request);
    return [];
  }
}

/** Stops, starts or puts to sleep a link on a machine. @throws Failure, `not-found`; Unreachable, KeyUnusable */
export async function changeAt(machine: Machine, id: string, change: LinkCommand): Promise<void> {
  const path = `/v1/links/${encodeURIComponent(id)}/${change}`;
  await ask(machine, { method: 'POST', path, timeout: CHANGE_MS });
}

/** Makes one of several tails of a link of a machine get no new client, or get them again. */
export async function drainAt(
  machine: Machine,
  id: string,
  { tail, drains }: { tail: string; drains: boolean },
): Promise<void> {
  const names = [id, 'tails', tail, drains ? 'drain' : 'undrain'].map(encodeURIComponent);
  await ask(machine, { method: 'POST', path: `/v1/links/${names.join('/')}`, timeout: CHANGE_MS });
}

/** The far part of a link as a machine created it, and the address by which that machine was `reached`. */
export interface ReachedPart extends CreatedPart {
  reached: string;
}

/**
 * Makes a machine create its part of a link of ours, or tell its address if it exists: the same however often it is asked.
 *
 * @param partId by which it knows the part, 32 hexadecimal digits
 * @param bodyFor returns the request for a connection to the machine
 * @throws as createAt
 */
export function createPartAt(
  machine: Machine,
  partId: string,
  bodyFor: (session: ProvedConnection) => PartBody,
): Promise<ReachedPart> {
  return withConnection(machine, async (request, session) => {
    const answer = await request({
      method: 'PUT',
      path: `/v1/parts/${partId}`,
      body: bodyFor(session),
      timeout: CREATE_MS,
    });
    return { ...checkAnswer(createdPart, answer), reached: session.remote };
  });
}

/** Makes a machine delete its part of a link of ours. @throws Failure, `not-found` when it has none; Unreachable, KeyUnusable */
export async function deletePartAt(machine: Machine, partId: string): Promise<void> {
  await ask(machine, { method: 'DELETE', path: `/v1/parts/${partId}`, timeout: CHANGE_MS });
}

/** Makes a machine delete its side of a tunnel. @throws Failure, `not-found` when it has none; Unreachable, KeyUnusable */
export async function deleteTunnelAt(machine: Machine, id: string): Promise<void> {
  await ask(machine, { method: 'DELETE', path: `/v1/tunnels/${id}`, timeout: CHANGE_MS });
}

/** Lists the links of a machine. @throws Failure, Unreachable, KeyUnusable */
export async function listAt(machine: Machine): Promise<Listing> {
  return checkAnswer(
    listing,
    await ask(machine, { method: 'GET', path: '/v1/links', longest: LONGEST_LIST }),
  );
}

/** Everything about one link of a machine. @throws Failure, `not-found`; Unreachable, KeyUnusable */
export async function showAt(machine: Machine, id: string): Promise<LinkDetails> {
  const path = `/v1/links/${encodeURIComponent(id)}`;
  return checkAnswer(linkDetails, await ask(machine, { method: 'GET', path, longest: LONGEST_LIST }));
}

/** What has flowed through the links of a machine, by day. @throws Failure, Unreachable, KeyUnusable */
export async function reportAt(machine: Machine): Promise<TrafficReport> {
  return checkAnswer(
    trafficReport,
    await ask(machine, { method: 'GET', path: '/v1/traffic', longest: LONGEST_LIST }),
  );
}

/** Lists the tunnels of a machine. @throws Failure, Unreachable, KeyUnusable */
export async function listTunnelsAt(machine: Machine): Promise<TunnelListing> {
  return checkAnswer(
    tunnelListing,
    await ask(machine, { method: 'GET', path: '/v1/tunnels', longest: LONGEST_LIST }),
  );
}

/** Asks a machine for the version of its daemon. @throws Failure, Unreachable, KeyUnusable */
export async function versionAt(machine: Machine): Promise<ProgramVersion> {
  return checkAnswer(programVersion, await ask(machine, { method: 'GET', path: '/v1/version' }));
}

/**
 * How long a machine's daemon took to answer, ms, and the id of the machine. `clockMs` is by how much its clock is ahead of ours, ms,
 * give or take `milliseconds`; an earlier version does not tell.
 */
export interface Ping {
  milliseconds: number;
  machine: string;
  clockMs?: number;
}

/**
 * Asks a machine's daemon for a sign of life, over a connection that is open already.
 *
 * @throws Failure, Unreachable, KeyUnusable
 */
export async function ping(machine: Machine): Promise<Ping> {
  return withConnection(machine, async (request, { machine: proved }) => {
    const echo = { method: 'GET', path: '/v1/ping' };
    // The first ones run code that neither side has compiled yet.
    for (let n = 0; n < WARM_UP; n++) await request(echo);
    const began = performance.now();
    const answer = await request(echo);
    const milliseconds = performance.now() - began;
    const { machine: said, time } = checkAnswer(pong, answer);
    const clockMs = time === undefined ? undefined : Math.round(time - (Date.now() - milliseconds / 2));
    // A unix socket leads to this machine itself, which need not prove who it is.
    return { milliseconds, machine: proved || said, ...(clockMs !== undefined && { clockMs }) };
  });
}

/**
 * A connection to a machine: its addresses, without brackets, IPv4 as IPv4, and the id that the machine has proved. All are empty
 * for a unix socket.
 */
export interface ProvedConnection {
  local: string;
  remote: string;
  machine: string;
}

function ask(machine: Machine, request: ApiRequest): Promise<unknown> {
  return withConnection(machine, (send) => send(request));
}

/**
 * Runs `use` with a connection to a machine that has proved who it is. Over it, one request after another can be sent, with less
 * than two seconds between an answer and the next request: the daemon does not keep silent callers.
 *
 * @throws WrongIdentity, Unreachable, KeyUnusable; what `use` throws
 */
export async function withConnection<T>(
  machine: Machine,
  use: (send: SendRequest, session: ProvedConnection) => Promise<T>,
): Promise<T> {
  const { endpoint } = machine;
  const socket = await connectMachine(machine);
  const { send, close } = openConnection(socket, endpointText(endpoint));
  try {
    const id =
      endpoint.kind === 'tcp' && socket instanceof TLSSocket
        ? await identify({ ...machine, endpoint }, socket, send)
        : '';
    const [local, remote] = [socket.localAddress, socket.remoteAddress].map((text) => unmapIPv4(text ?? ''));
    return await use(send, { local: local ?? '', remote: remote ?? '', machine: id });
  } finally {
    close();
  }
}
