import { setTimeout as sleep } from 'node:timers/promises';
import { listAt, ping } from '../../api/client.js';
import type { Machine } from '../../api/connect.js';
import { parsePeerEndpoint } from '../../api/endpoint.js';
import type { ListedLink, Listing } from '../../api/listing-schema.js';
import { ownName } from '../../links/remote/far-part.js';
import type { FarChild } from '../../recipe/recipe.js';
import { readFarAddress } from '../../state/far-address.js';
import { findTunnel } from '../../tunnels/find.js';
import { statusOf } from '../../tunnels/kernel.js';
import { problemOf } from '../../tunnels/problems.js';
import { adviceOf } from '../finding.js';
import { goesOn, type Hop } from './hop.js';
import { probe } from './probe.js';

/**
 * A forwarder that does not reach its target closes its client 5 s after it has begun to serve. A connection stays open longer, ms, unless the
 * other machine says before that its target has accepted: a busy machine takes seconds to start a forwarder.
 */
const STAY_MS = 15_000;

/** How often the other machine is asked whether the target has accepted, ms. */
const POLL_MS = 300;

/** The states of a part in which a client is served. */
const SERVING = ['listening', 'connected'];

/** A link that has its tail on another machine; `trigger` says whether its first connection creates that part. */
export interface FarHopRequest {
  link: string;
  child: FarChild;
  keyFile: string;
  trigger: boolean;
}

/** Follows a link to another machine: the tunnel, the daemon, the part there with all behind it, and the way to it. */
export async function followFar(request: FarHopRequest): Promise<Hop[]> {
  const { link, child, keyFile } = request;
  const { peer } = child;
  const hops = child.kind === 'remote' ? [] : [await tunnelHop(request)];
  if (!goesOn(hops)) return hops;
  const machine: Machine = { endpoint: parsePeerEndpoint(peer), keyFile };
  try {
    const { milliseconds } = await ping(machine);
    hops.push({ link, state: 'ok', text: `machine ${peer} answers in ${milliseconds.toFixed(1)} ms` });
    const part = partOf(link, await listAt(machine));
    hops.push(part ? describePart(request, part) : missingPart(request));
    if (part && goesOn(hops)) hops.push(await wayHop(request, part, machine));
  } catch (error) {
    const { problem, advice } = adviceOf(error as Error, `wormhole ping ${peer}`);
    hops.push({ link, state: 'broken', text: problem, advice });
  }
  return hops;
}

async function tunnelHop({ link, child, trigger }: FarHopRequest): Promise<Hop> {
  const { peer, kind } = child;
  const option = kind === 'udptunnel' ? '--udp ' : '';
  const advice = `wormhole tunnel-create ${option}${peer}`;
  const tunnel = await findTunnel(peer);
  if (!tunnel)
    return trigger
      ? { link, state: 'asleep', text: `there is no tunnel to ${peer} yet: a connection creates it` }
      : { link, state: 'broken', text: `there is no tunnel to ${peer}`, advice };
  if ((await statusOf(tunnel)).up) return { link, state: 'ok', text: `the tunnel to ${peer} is up` };
  const problem = problemOf(tunnel);
  return {
    link,
    state: 'broken',
    text: `the tunnel to ${peer} is down${problem === undefined ? '' : `: ${problem}`}`,
    advice,
  };
}

/** Our part among the links of another machine, which knows it by the id of our link and the name of this machine. */
export function partOf(
  link: string,
  { links }: Pick<Listing, 'links'>,
  name = ownName(),
): ListedLink | undefined {
  return links.find(({ owner }) => owner === `${link} of ${name}`);
}

function missingPart({ link, child: { peer }, trigger }: FarHopRequest): Hop {
  if (trigger && readFarAddress(link) === undefined)
    return { link, state: 'asleep', text: `machine ${peer} has no part yet: a connection creates it` };
  return {
    link,
    state: 'broken',
    text: `machine ${peer} has no part of the link`,
    advice: 'the next connection asks for it again; journalctl -u wormhole-far says why it was refused',
  };
}

/** What the state of a part, as that machine lists it, means for a link. */
export function describePart(
  { link, child: { peer } }: Pick<FarHopRequest, 'link' | 'child'>,
  part: ListedLink,
): Hop {
  const text = `its part there, ${part.id}, is ${[part.state, part.detail].filter(Boolean).join(' ')}`;
  if (part.state === 'sleeping')
    return { link, state: 'asleep', text: `${text}: a connection starts it, and a probe does not` };
  if (SERVING.includes(part.state)) return { link, state: 'ok', text };
  return { link, state: 'broken', text, advice: `wormhole doctor --link ${part.id}, on machine ${peer}` };
}

/**
 * Connects to the part, unless a connection would start something there. The forwarder there accepts before it has reached its target, so
 * that machine is asked whether it has.
 */
async function wayHop(
  { link, child: { peer } }: FarHopRequest,
  part: ListedLink,
  machine: Machine,
): Promise<Hop> {
  const known = readFarAddress(link);
  if (known && 'failure' in known)
    return {
      link,
      state: 'broken',
      text: `its part is not used: ${known.failure}`,
      advice: `wormhole ping ${peer}`,
    };
  if (!known)
    return {
      link,
      state: 'asleep',
      text: 'the address of its part is not known yet: a connection asks for it',
    };
  if (/(^| )trigger( |$)/.test(part.recipe) || !part.head.url.startsWith('tcp:'))
    return {
      link,
      state: 'unknown',
      text: `${known.address} is not probed: a connection would start what is there`,
    };
  const at = parsePeerEndpoint(known.address);
  if (at.kind !== 'tcp') throw new Error(`"${known.address}" is not the address of a part`);
  const enough = new AbortController();
  const [failure] = await Promise.all([
    probe(at, { stay: STAY_MS, signal: enough.signal }).finally(() => enough.abort()),
    isServed(part, machine, enough),
  ]);
  if (failure === undefined) return { link, state: 'ok', text: `${known.address} accepts connections` };
  return failure === 'CLOSED' || failure === 'ECONNRESET'
    ? {
        link,
        state: 'broken',
        text: `${known.address} accepts a connection and closes it: the part does not reach its target`,
        advice: `wormhole doctor --link ${part.id}, on machine ${peer}`,
      }
    : {
        link,
        state: 'broken',
        text: `${known.address} does not accept a connection (${failure})`,
        advice: `is there a firewall between this machine and ${peer}?`,
      };
}

/** Ends a probe as soon as the other machine says that the target has accepted a client since. */
async function isServed(part: ListedLink, machine: Machine, enough: AbortController): Promise<void> {
  const end = performance.now() + STAY_MS;
  while (!enough.signal.aborted && performance.now() < end) {
    await sleep(POLL_MS);
    const now = (await listAt(machine)).links.find(({ id }) => id === part.id);
    if ((now?.counters?.served ?? 0) > (part.counters?.served ?? 0)) enough.abort();
    else if ((now?.counters?.unserved ?? 0) > (part.counters?.unserved ?? 0)) return;
  }
}
