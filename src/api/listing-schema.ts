import * as v from 'valibot';
import type { CreateOptions } from '../units/plan.js';
import { figure } from './figure.js';

/*
 * What a machine answers about its links; see schema.ts for the requests.
 */

const listedEnd = v.object({
  url: v.string(),
  place: v.string(),
  also: v.exactOptional(v.array(v.string())),
});

/**
 * An end as `wormhole list` shows it: `place` in words, such as `this host`, `container mysql` or `machine myserver`. The
 * `url` is '' while it is unknown: another machine has yet to create its part. `also` has the urls of the further listeners of
 * a head, and those by which its clients reach the tail.
 */
export type ListedEnd = v.InferOutput<typeof listedEnd>;

const counters = v.object({
  open: figure,
  limit: figure,
  served: figure,
  unserved: figure,
  denied: figure,
  refused: v.optional(figure, 0),
  timedOut: v.optional(figure, 0),
  bytesFromClients: figure,
  bytesFromTarget: figure,
  resetsByClient: figure,
  resetsByTarget: figure,
  held: figure,
  heldMs: figure,
  failing: v.exactOptional(v.object({ count: figure, since: figure, reason: v.string() })),
  // Earlier versions do not have these.
  datagramsFromClients: v.exactOptional(figure),
  datagramsFromTarget: v.exactOptional(figure),
  dialMs: v.exactOptional(figure),
  idleInMs: v.exactOptional(figure),
  dials: v.exactOptional(v.array(v.object({ upToMs: v.exactOptional(figure), count: figure }))),
  lastFailure: v.exactOptional(v.object({ at: figure, reason: v.string() })),
});

const number = v.exactOptional(figure);
const text = v.exactOptional(v.string());

const listedOptions = v.object({
  ...{ startTimeout: number, udpTimeout: number, maxConnections: number, maxPerSource: number, rate: number },
  ...{ idleTimeout: number, keepAlive: number, socketMode: text, socketOwner: text, group: text, pull: text },
  proxyProtocol: text,
  acceptProxyProtocol: v.exactOptional(v.array(v.string())),
  ...{ balance: text, check: number },
  workers: v.exactOptional(v.union([v.string(), figure])),
} satisfies { [name in keyof CreateOptions]-?: unknown });

const listedLink = v.object({
  id: v.string(),
  parent: v.exactOptional(v.string()),
  tailOf: v.exactOptional(v.string()),
  drained: v.exactOptional(v.boolean()),
  unhealthy: v.exactOptional(v.boolean()),
  owner: v.exactOptional(v.string()),
  tunnel: v.exactOptional(v.string()),
  head: listedEnd,
  tail: listedEnd,
  state: v.picklist([
    'listening',
    'connected',
    'sleeping',
    'waiting',
    'failing',
    'failed',
    'stopped',
    'leaving',
    'deleted',
  ]),
  detail: v.string(),
  counters: v.exactOptional(counters),
  recipe: v.string(),
  volumes: v.exactOptional(v.array(v.object({ name: v.string(), path: v.string() }))),
  proxyProtocol: v.exactOptional(v.string()),
  acceptProxyProtocol: v.exactOptional(v.array(v.string())),
  options: v.exactOptional(listedOptions),
});

/**
 * One link as `wormhole list` shows it. `parent` is the id of the link that it is a part of, and `tailOf` the same of one that leads to
 * one of several tails, which is `drained` if it gets no new client, and `unhealthy` if it gets none because its container is not healthy; `owner` the link on another
 * machine that it was created for, such as `3306 of alpha`; `tunnel` the machine at the other end of the tunnel that it uses.
 *
 * `state` is `listening` (no client is connected), `connected` (the forwarder runs), `sleeping` (a connection starts it, or
 * what it leads to), `waiting` (the container, netns or machine of an end is missing), `failing` (the
 * target has accepted none of the last clients), `failed`, `stopped`, `leaving` (deleted, except for its part on another
 * machine), or `deleted` (except for its volumes; its ends and its recipe are unknown). `detail` is what the forwarder does, what the link waits for, or where to look. `counters` are those of
 * state/counters.ts; they are absent before the first client. `volumes` are those that
 * Wormhole has made for its containers, and their places there; they are absent when there are none, and when the Docker engine
 * does not run. `options` are those of {@link CreateOptions} that differ from the defaults; only the first link of a recipe has them.
 * `proxyProtocol` and `acceptProxyProtocol` repeat two of them, where earlier versions have them.
 */
export type ListedLink = v.InferOutput<typeof listedLink>;

/**
 * What `wormhole list` prints: the links, and the ids whose units cannot be read, with the reason. `labels` has a line for each label
 * of a container from which no link could be made; it is absent when there is none.
 */
export const listing = v.object({
  links: v.array(listedLink),
  unreadable: v.array(v.object({ id: v.string(), reason: v.string() })),
  labels: v.exactOptional(v.array(v.string())),
});
export type Listing = v.InferOutput<typeof listing>;

export const linkDetails = v.object({
  link: listedLink,
  family: v.array(listedLink),
  units: v.array(
    v.object({ name: v.string(), load: v.string(), active: v.string(), sub: v.string(), since: figure }),
  ),
  namespaces: v.array(v.object({ place: v.string(), addresses: v.array(v.string()) })),
  rates: v.exactOptional(v.object({ served: figure, bytesFromClients: figure, bytesFromTarget: figure })),
  sessions: v.exactOptional(
    v.array(
      v.object({
        client: v.string(),
        target: v.string(),
        ageMs: figure,
        bytesFromClient: figure,
        bytesFromTarget: figure,
        idleMs: figure,
      }),
    ),
  ),
  journal: v.array(v.object({ time: figure, source: v.string(), priority: figure, text: v.string() })),
});

/**
 * Everything about one link: it, and the links of its recipe, of which the first is the one that was created. `units` have the states of
 * systemd, `since` in ms since 1970, 0 if never. `namespaces` are those of its ends, with the addresses in them as ip(8) writes
 * them, none if no process is in it. `rates` are per second, and absent before the first client. `sessions` are the connections that
 * are older than a second, the oldest first, from the view of the forwarder: the address of the client, its own towards
 * the target, and how long nothing has come from either side. They are absent for those who may not look. `journal` has the last
 * lines, the oldest first, with the time in ms since 1970 and the priority of syslog(3).
 */
export type LinkDetails = v.InferOutput<typeof linkDetails>;

const dayReport = v.object({
  day: v.string(),
  links: v.array(
    v.object({
      id: v.string(),
      traffic: v.object({
        served: figure,
        unserved: figure,
        denied: figure,
        refused: figure,
        bytesFromClients: figure,
        bytesFromTarget: figure,
        datagramsFromClients: figure,
        datagramsFromTarget: figure,
      }),
    }),
  ),
});

/** What has flowed through links on one day, such as `2026-11-26` in the time zone of the machine. */
export type DayReport = v.InferOutput<typeof dayReport>;

/** What `wormhole report` prints: the days with traffic, the oldest first. */
export const trafficReport = v.object({ days: v.array(dayReport) });
export type TrafficReport = v.InferOutput<typeof trafficReport>;
