import { type Link, type LinkTail, localChildOf } from '../recipe/link.js';
import { isFar, type Recipe } from '../recipe/recipe.js';
import { handOffSocket, runUnit, serviceUnit } from './names.js';
import { startsTail } from './runs.js';

/**
 * Limits on the clients of a link, at the head of the one that is created: neither its children nor a part on another machine have
 * them.
 */
export interface ClientLimits {
  /** The most connections at a time, and the most sessions of datagrams. Default 4000, and 4096. */
  maxConnections?: number;
  /** The most connections at a time of one IPv4 address, or of the 64-bit prefix of an IPv6 address. */
  maxPerSource?: number;
  /** The most new connections in a second. */
  rate?: number;
  /** A session on which no byte moves for this long is reset, seconds. */
  idleTimeout?: number;
  /** After this much silence the kernel probes both peers, seconds. */
  keepAlive?: number;
}

/** The most that the numbers of {@link ClientLimits} may be: more than a process can have descriptors. */
export const MAX_COUNT = 1_000_000;

/** The longest `idleTimeout` and `keepAlive`, seconds; the latter is MAX_TCP_KEEPIDLE (net/tcp.h). */
export const MAX_IDLE_TIMEOUT = 86_400;
export const MAX_KEEPALIVE = 32_767;

/**
 * How a link is to be created, beside its recipe.
 *
 * `startTimeout` is the seconds that what a connection starts may take until it accepts one. `pull` says when the image
 * of a container is fetched, as docker run's option of that name does. `udpTimeout` is the seconds after which a client that
 * has sent and received no datagram counts as gone; 60 if it is not said. `socketMode` (octal digits) and `socketOwner`
 * (`USER:GROUP`, either of which may be missing) are those of the paths of heads, 0666 and root if they are not said. `group` is one
 * that the forwarder has, for a tail with a path that others may not use. `balance` says which of several tails a client gets, and
 * `check` every how many seconds these are checked while the link is in use. `workers` is the number of threads that relay in each
 * forwarder of this machine, beside the first; without it the first one does.
 *
 * `proxyProtocol` is the version of the PROXY header that tells the target who the client is. Clients from the networks of
 * `acceptProxyProtocol`, which is never empty, begin with such a header. Both are about the first link alone.
 */
export interface CreateOptions extends ClientLimits {
  startTimeout: number;
  pull: 'never' | 'missing' | 'always';
  udpTimeout?: number;
  socketMode?: string;
  socketOwner?: string;
  group?: string;
  proxyProtocol?: 'v1' | 'v2';
  acceptProxyProtocol?: string[];
  balance?: Balance;
  check?: number;
  workers?: Workers;
}

/** How many threads relay; "auto": as many as there are processors. At most {@link MAX_WORKERS}, as in forwarder/workers/count.ts. */
export type Workers = number | 'auto';
export const MAX_WORKERS = 64;

/** How a tail is chosen; the first is the default. */
export const BALANCES = ['least', 'round-robin', 'first', 'source'] as const;
export type Balance = (typeof BALANCES)[number];

/** The options when nothing is said. */
export const DEFAULT_OPTIONS: CreateOptions = { startTimeout: 60, pull: 'missing' };

/**
 * What a link has on another machine. `partId` is random, and identifies the part there: with it, the part can be asked for
 * again and again, and be removed. `keyFile` holds the key that both machines share. With several tails, those on other machines have
 * a `partId` each, by name.
 */
export interface FarPart {
  partId: string;
  keyFile: string;
  tails?: Record<string, string>;
}

/**
 * The link of another machine that this one is the far part of: the `partId` of its {@link FarPart}, its id, the name of its
 * machine, and the address of that machine, which alone may connect. `identity` is the id that the machine has proved to have, and
 * `tunnel` the id of the tunnel that it comes through. `service` is the one that this machine publishes for such links.
 */
export interface Owner {
  partId: string;
  id: string;
  machine: string;
  identity?: string;
  address: string;
  tunnel?: string;
  service?: string;
}

/**
 * What binds a link, with all its children, to other machines: a part on one, or an owner on one, or both; or the id of the machine
 * that has created it here (`wormhole -H`), its `creator`.
 */
export interface RemoteBonds {
  far?: FarPart;
  owner?: Owner;
  creator?: string;
  /** The names of the tails that get no new client. */
  drained?: string[];
}

/**
 * One link with all that its units say.
 *
 * `parent` is the id of the link that it is a child of, `root` that of the one which was created, and whose socket holds the
 * recipe of all. `openedBy` is the unit that opens it on a connection; without one it is open from boot on. `far` is that
 * of the whole recipe, which has at most one, or that of one of several tails; `owner`, `creator` and `drained` has only the one that
 * was created. `tailOf` is the link that this one leads to a tail of: its head takes over the clients of that one, unless it `isDrained`.
 */
export interface PlannedLink extends RemoteBonds {
  id: string;
  parent?: string;
  root: string;
  openedBy?: string;
  tailOf?: string;
  isDrained?: boolean;
  link: Link;
  options: CreateOptions;
}

/** A link to be planned, with what holds for all its children too. */
export interface LinkPlan extends RemoteBonds {
  link: Link;
  options: CreateOptions;
}

/** Plans a link and, one after the other, the children or tails that it has on this machine, the parent first. */
export function planLink(plan: LinkPlan): PlannedLink[] {
  const { link, options, far, owner, creator } = plan;
  if (link.tails) return planTails(plan, link.tails);
  const all: PlannedLink[] = [];
  const common = { root: link.id, options, ...(far && { far }) };
  for (let next: Placed | undefined = { link }; next; next = childOf(next)) {
    const isRoot = all.length === 0;
    const ofRoot = { ...(owner && { owner }), ...(creator !== undefined && { creator }) };
    all.push({ ...common, ...next, id: next.link.id, ...(isRoot && ofRoot) });
  }
  return all;
}

/** Plans a link that has several tails: the front, and one part for each tail. */
function planTails(
  { link, options, far, owner, creator, drained }: LinkPlan,
  tails: LinkTail[],
): PlannedLink[] {
  const { id, idle } = link;
  const front: PlannedLink = {
    ...{ id, root: id, link, options },
    ...(far && { far }),
    ...(owner && { owner }),
    ...(creator !== undefined && { creator }),
    ...(drained && { drained }),
  };
  return [front, ...tails.map(planTail)];

  function planTail({ id: tailId, name, tail, trigger, child }: LinkTail): PlannedLink {
    const part: Link = {
      id: tailId,
      head: {
        protocol: 'unixpacket',
        path: handOffSocket(id, tailId),
        place: { kind: 'host' },
      },
      trigger,
      ...(idle !== undefined && { idle }),
      ...(tail && { tail }),
      ...(child && { child }),
    };
    const partId = child && far?.tails?.[name];
    const ofPart = far && partId !== undefined && { far: { partId, keyFile: far.keyFile } };
    const isDrained = drained?.includes(name) && { isDrained: true };
    return { id: tailId, parent: id, root: id, tailOf: id, ...isDrained, link: part, options, ...ofPart };
  }
}

type Placed = Pick<PlannedLink, 'parent' | 'openedBy' | 'link'>;

function childOf({ openedBy, link }: Placed): Placed | undefined {
  const { id, tail, trigger } = link;
  const child = localChildOf(link);
  if (!child) return undefined;
  const opener = trigger ? (startsTail(link) ? runUnit(id) : serviceUnit(id)) : undefined;
  const inOwnContainer = tail?.place.kind === 'run' && child.kind === 'child' ? runUnit(id) : undefined;
  const opened = opener ?? inOwnContainer ?? openedBy;
  return { parent: id, link: child.link, ...(opened === undefined ? {} : { openedBy: opened }) };
}

/** Whether all of a link up to its far part is carried out at creation, and not by the first connection. */
export function isEager({ trigger, child }: Recipe): boolean {
  if (trigger) return false;
  return child === undefined || isFar(child) || isEager(child.link);
}
