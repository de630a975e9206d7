import { existsSync } from 'node:fs';
import prettyBytes from 'pretty-bytes';
import type { ListedEnd, ListedLink, Listing } from '../api/listing-schema.js';
import type { OwnVolume } from '../docker/volumes.js';
import { address, describePeer, describePlace, endUrls } from '../recipe/describe.js';
import { addressesOf, farChildOf, type Link, localTailOf, namedTailOf } from '../recipe/link.js';
import { ipProtocolsFor } from '../recipe/protocols.js';
import { isUnix, type RecipeEnd, splitEnd } from '../recipe/recipe.js';
import { recipeFromText, recipeText } from '../recipe/text.js';
import { type Counters, type Failing, readCounters } from '../state/counters.js';
import { sumOf } from '../state/counters-file.js';
import { readFarAddress } from '../state/far-address.js';
import { describeLabelFault, readLabelFaults } from '../state/label-faults.js';
import { readLinks } from '../state/links.js';
import { type KnownName, knownNameOf } from '../state/name-file.js';
import { type PartDeletion, releasedDeletions } from '../state/pending-deletions.js';
import { readTunnels } from '../state/tunnels.js';
import { unfinishedIds } from '../state/unfinished.js';
import { type LoadedUnit, type Systemd, withSystemd } from '../systemd/systemd.js';
import { describeTime } from '../text/time.js';
import { givenUpFile, netnsInstance, serviceUnit, socketUnit } from '../units/names.js';
import { nonDefaultOptions } from '../units/option-words.js';
import type { PlannedLink } from '../units/plan.js';
import { runsOf } from '../units/runs.js';
import type { Tunnel } from '../units/tunnel.js';
import { isEmptyNamespace } from './containers/empty-namespace.js';
import { describeLosses } from './containers/kept-container.js';
import { unhealthyTails } from './containers/unhealthy-tails.js';
import { findVolumesIfKnown, nameVolumes } from './containers/volumes.js';
import { isStopped } from './is-stopped.js';

const UNFINISHED =
  'being created or deleted; if no command does that, one was killed, and the next that changes links removes what it has left';

/** Lists the links of this machine. @throws Error when systemd is unreachable */
export async function listLinks(): Promise<Listing> {
  const { links, unreadable } = readLinks();
  const { tunnels } = readTunnels();
  const listed = await withSystemd(async (systemd) => {
    const units = await systemd.loaded(['wormhole-*.socket', 'wormhole-*.service']);
    const unhealthy = unhealthyTails(links, units);
    return Promise.all(links.map((planned) => describeLink(planned, { units, unhealthy, tunnels, systemd })));
  });
  const unfinished = unfinishedIds();
  const isRoot = process.geteuid?.() === 0;
  const volumes = (isRoot && (await findVolumesIfKnown())) || [];
  const withVolumes = listed.map((link) => ({
    ...link,
    ...(unfinished.includes(link.id) && { detail: UNFINISHED }),
    ...volumesOf(link.id, volumes),
  }));
  const existing = new Set([...links, ...unreadable].map(({ id }) => id));
  const deleted = volumes.filter(({ link }) => !existing.has(link));
  const labels = isRoot ? readLabelFaults().map(describeLabelFault) : [];
  return {
    links: [...withVolumes, ...leavingLinks(), ...deletedLinks(deleted)],
    unreadable,
    ...(labels.length > 0 && { labels }),
  };
}

/** What {@link describeLink} needs to know of this machine; `units` as `loaded` of {@link Systemd} returns them. */
export interface Surroundings {
  units: ReadonlyMap<string, LoadedUnit>;
  /** As {@link unhealthyTails} returns them. */
  unhealthy: ReadonlySet<string>;
  tunnels: Tunnel[];
  systemd: Systemd;
}

/** A link as it is listed, without its volumes. */
export async function describeLink(
  planned: PlannedLink,
  { units, unhealthy, tunnels, systemd }: Surroundings,
): Promise<ListedLink> {
  const counters = countersOf(planned);
  const isRunning = !['inactive', 'failed', undefined].includes(units.get(serviceUnit(planned.id))?.active);
  const options = nonDefaultOptions(planned.options);
  const { state, detail } = await stateOf(planned, { units, counters, systemd });
  const details = [
    planned.isDrained ? 'drained' : '',
    unhealthy.has(planned.id) ? 'not healthy' : '',
    detail,
    describeLosses(planned),
  ];
  const hasOptions = planned.parent === undefined && Object.keys(options).length > 0;
  return {
    ...describe(planned, tunnels),
    ...(unhealthy.has(planned.id) && { unhealthy: true }),
    state,
    detail: details.filter(Boolean).join('; '),
    ...(counters && { counters: listedCounters(counters, isRunning) }),
    recipe: recipeText(planned.link),
    ...(hasOptions && { options }),
  };
}

/** The figures of a link, with how long its forwarder goes on if no client comes. */
function listedCounters(
  { idleAt, ...counters }: Counters,
  isRunning: boolean,
): NonNullable<ListedLink['counters']> {
  // A forwarder that was killed, or stopped with the machine, has not counted them down.
  if (!isRunning) return { ...counters, open: 0 };
  const idleInMs = Math.round(idleAt - Date.now());
  return counters.open === 0 && idleInMs > 0 ? { ...counters, idleInMs } : counters;
}

function volumesOf(id: string, volumes: OwnVolume[]): Pick<ListedLink, 'volumes'> {
  const own = volumes.filter(({ link }) => link === id);
  return own.length === 0 ? {} : { volumes: own.map(({ name, path }) => ({ name, path })) };
}

/** What is left of deleted links: their volumes. */
function deletedLinks(volumes: OwnVolume[]): ListedLink[] {
  const nowhere = { url: '', place: '' };
  return [...new Set(volumes.map(({ link }) => link))].map((id) => {
    const own = volumes.filter(({ link }) => link === id);
    return {
      id,
      head: nowhere,
      tail: nowhere,
      state: 'deleted',
      detail: `${nameVolumes(own)} stays, with its data: wormhole delete --volumes ${id} removes it`,
      recipe: '',
      ...volumesOf(id, own),
    };
  });
}

/** What a front forwarder does not see, since the forwarders of its tails have the sessions. */
const COUNTED_BY_TAILS = [
  'bytesFromClients',
  'bytesFromTarget',
  'resetsByClient',
  'resetsByTarget',
  'timedOut',
] as const;

/** What the forwarder of a link has counted, with what those of several tails have. */
export function countersOf({ id, link }: PlannedLink): Counters | undefined {
  const counters = readCounters(id);
  if (!counters || !link.tails) return counters;
  const tails = link.tails.flatMap((tail) => readCounters(tail.id) ?? []);
  const sums = COUNTED_BY_TAILS.map((name) => [
    name,
    sumOf(counters[name], ...tails.map((tail) => tail[name])),
  ]);
  return { ...counters, ...Object.fromEntries(sums) };
}

type LinkState = Pick<ListedLink, 'state' | 'detail'>;

function describe(
  {
    id,
    parent,
    tailOf,
    isDrained,
    owner,
    link,
    options: { proxyProtocol, acceptProxyProtocol },
  }: PlannedLink,
  tunnels: Tunnel[],
): Omit<ListedLink, 'state' | 'detail' | 'counters' | 'recipe'> {
  const tunnel = tunnelOf(link, tunnels);
  return {
    id,
    ...(tailOf !== undefined && { tailOf }),
    ...(isDrained && { drained: true }),
    ...(parent !== undefined && { parent }),
    ...(owner && { owner: `${owner.id} of ${owner.machine}` }),
    ...(tunnel !== undefined && { tunnel }),
    head: listedEnd(link.head),
    tail: listedTail(link),
    ...(parent === undefined && proxyProtocol !== undefined && { proxyProtocol }),
    ...(parent === undefined && acceptProxyProtocol !== undefined && { acceptProxyProtocol }),
  };
}

/** What tells the state of a link; `units` as `loaded` of {@link Systemd} returns them. */
interface Signs {
  units: ReadonlyMap<string, LoadedUnit>;
  counters: Counters | undefined;
  systemd: Systemd;
}

async function stateOf(planned: PlannedLink, { units, counters, systemd }: Signs): Promise<LinkState> {
  const { id, root, openedBy, link } = planned;
  const socket = units.get(socketUnit(id))?.active;
  const far = farChildOf(link);
  const run = runsOf(link).find(({ end }) => end === 'tail');
  if (socket === 'failed') return { state: 'failed', detail: `see journalctl -u ${socketUnit(id)}` };
  if (socket !== 'active') {
    if (await isStopped(planned, systemd)) return { state: 'stopped', detail: `wormhole start ${root}` };
    return openedBy
      ? { state: 'sleeping', detail: '' }
      : { state: 'stopped', detail: `see systemctl status ${socketUnit(id)}` };
  }
  if (run && existsSync(givenUpFile(run.name)))
    return {
      state: 'failed',
      detail: `to start ${run.place.kind === 'unit' ? run.place.name : 'its container'}: see journalctl -u ${run.unit}`,
    };
  const farAddress = far && readFarAddress(id);
  if (far && farAddress && 'failure' in farAddress)
    return { state: 'waiting', detail: `for ${describePeer(far.peer)}: ${farAddress.failure}` };
  const absent = [link.head, localTailOf(link)].find(
    (end) => end && isEmptyNamespace(netnsInstance(end.place)),
  );
  if (absent) return { state: 'waiting', detail: `for ${describePlace(absent.place)}` };
  const named = namedTailOf(link);
  const problem = named && describeUnknown(knownNameOf(id, address(named)));
  if (problem !== undefined) return { state: 'waiting', detail: `for an address: ${problem}` };
  if (counters?.failing) return { state: 'failing', detail: describeFailing(counters.failing) };
  if (units.get(serviceUnit(id))?.active === 'active')
    return { state: 'connected', detail: counters ? describeTraffic(counters) : '' };
  const isStarted = run ? units.get(run.unit)?.active === 'active' : !far || farAddress !== undefined;
  return { state: link.trigger && !isStarted ? 'sleeping' : 'listening', detail: '' };
}

/** Why a name has no address that clients could be connected to; undefined if it has one. */
function describeUnknown(known: KnownName | undefined): string | undefined {
  return known?.addresses.length === 0 ? known.problem : undefined;
}

/** "127.0.0.1:3306 refused for 5 s (ECONNREFUSED: connection refused), 41 times since 10:02" */
function describeFailing({ count, since, reason }: Failing): string {
  const times = count === 1 ? 'once' : `${count} times`;
  return `${reason}, ${times} since ${describeTime(since)}`;
}

/** "3 open, 120 served, 5 refused, 1.2 GB" */
function describeTraffic(counters: Counters): string {
  const { open, limit, served, refused, bytesFromClients, bytesFromTarget } = counters;
  const clients = [`${open} open`, `${served} served`, ...(refused > 0 ? [`${refused} refused`] : [])];
  const traffic = [...clients, prettyBytes(bytesFromClients + bytesFromTarget)].join(', ');
  return open < limit || limit === 0 ? traffic : `${traffic}; that is its limit, and further clients wait`;
}

function listedEnd(end: RecipeEnd): ListedEnd {
  return listedUrls(endUrls(end), describePlace(end.place));
}

function listedUrls([url = '', ...also]: string[], place: string): ListedEnd {
  return { url, place, ...(also.length > 0 && { also }) };
}

/** The tail, or where another machine has it. */
function listedTail(link: Link): ListedEnd {
  const tail = localTailOf(link);
  if (tail) return listedEnd(tail);
  if (link.tails) return listedUrls([], `${link.tails.length} tails`);
  const known = readFarAddress(link.id);
  const protocols = ipProtocolsFor(splitEnd(link.head));
  const urls = known && 'address' in known ? protocols.map((by) => `${by}://${known.address}`) : [];
  return listedUrls(urls, describePeer(farChildOf(link)?.peer ?? ''));
}

/** The machine at the other end of the tunnel that a link leads through, or that its head is in. */
function tunnelOf(link: Link, tunnels: Tunnel[]): string | undefined {
  const far = farChildOf(link);
  if (far && far.kind !== 'remote') return far.peer;
  const hosts = addressesOf(link.head).map((address) => (isUnix(address) ? undefined : address.host));
  return tunnels.find(({ inner }) => hosts.includes(inner.local))?.peer;
}

/** Recipes may hold secrets, and these are in no unit file: only root sees them. */
function leavingLinks(): ListedLink[] {
  if (process.geteuid?.() !== 0) return [];
  return releasedDeletions().flatMap((deletion) =>
    deletion.kind === 'part' ? describeDeletion(deletion) : [],
  );
}

/** What is left of a deleted link: its part on a machine that cannot be told yet. */
function describeDeletion({ linkId, peer, recipe }: PartDeletion): ListedLink {
  return {
    id: linkId,
    head: listedEnd(recipeFromText(recipe).head),
    tail: { url: '', place: describePeer(peer) },
    state: 'leaving',
    detail: `${describePeer(peer)} has its part until it can be told`,
    recipe,
  };
}
