import { existsSync } from 'node:fs';
import { describePeer, describePlace, endUrl } from '../recipe/describe.js';
import { type End, type Link, tailOf } from '../recipe/link.js';
import { recipeFromText, recipeText } from '../recipe/text.js';
import { connectSystemd, type Systemd } from '../systemd/systemd.js';
import { givenUpFile, netnsInstance, serviceUnit, socketUnit } from '../units/names.js';
import type { NamedLink } from '../units/plan.js';
import { runsOf } from '../units/runs.js';
import type { Tunnel } from '../units/tunnel.js';
import { readFarFile } from './far-file.js';
import { readLinks } from './links.js';
import { isVoid } from './netns.js';
import { isTunnels, openDebts, type PartDebt } from './owed.js';
import { readTunnels } from './tunnel/tunnels.js';

/**
 * An end as `wormhole list` tells it: `place` in words, such as `this host`, `container mysql` or `machine myserver`. The
 * `url` is '' while it is not known: another machine has yet to make its part.
 */
export interface ListedEnd {
  url: string;
  place: string;
}

/**
 * One link as `wormhole list` tells it. `parent` is the id of the link that it is a part of; `owner` tells for whose link on
 * another machine it was made, such as `3306 of alpha`; `tunnel` the machine at the other end of the tunnel that it uses.
 *
 * `state` is `listening` (nobody is connected), `connected` (the forwarder runs), `sleeping` (it is, or what it leads to
 * is, started by a connection), `waiting` (an end's container, netns or machine is not there), `failed`, `stopped`, or
 * `leaving` (deleted, and its part on another machine is not yet); `detail` what the forwarder says of itself, what is waited for, or where to look.
 */
export interface ListedLink {
  id: string;
  parent?: string;
  owner?: string;
  tunnel?: string;
  head: ListedEnd;
  tail: ListedEnd;
  state: 'listening' | 'connected' | 'sleeping' | 'waiting' | 'failed' | 'stopped' | 'leaving';
  detail: string;
  recipe: string;
}

/** What `wormhole list` prints: the links, and the ids whose units cannot be read, with the reason. */
export interface Listing {
  links: ListedLink[];
  unreadable: { id: string; reason: string }[];
}

/** Lists the links of this machine. @throws Error when systemd is not to be reached */
export async function listLinks(): Promise<Listing> {
  const { links, unreadable } = readLinks();
  const systemd = await connectSystemd();
  try {
    const { tunnels } = readTunnels();
    const described = await Promise.all(links.map((link) => describe(link, tunnels, systemd)));
    return { links: [...described, ...leaving()], unreadable };
  } finally {
    systemd.close();
  }
}

async function describe(named: NamedLink, tunnels: Tunnel[], systemd: Systemd): Promise<ListedLink> {
  const { id, parent, owner, openedBy, link } = named;
  const tail = tailOf(link);
  const peer = link.child?.peer;
  const run = runsOf(named).find(({ end }) => end === 'tail');
  const [socket, service, status] = await Promise.all([
    systemd.state(socketUnit(id)),
    systemd.state(serviceUnit(id)),
    systemd.statusText(serviceUnit(id)),
  ]);
  const listed = {
    id,
    ...(parent === undefined ? {} : { parent }),
    ...(owner ? { owner: `${owner.id} of ${owner.machine}` } : {}),
    head: describeEnd(link.head),
    ...tunnelOf(link, tunnels),
    tail: describeTail(named),
    recipe: recipeText(link),
  };
  const absent = [link.head, tail].find(({ place }) => isVoid(netnsInstance(place)));
  if (socket.active === 'failed')
    return { ...listed, state: 'failed', detail: `see journalctl -u ${socketUnit(id)}` };
  if (socket.active !== 'active') return { ...listed, state: openedBy ? 'sleeping' : 'stopped', detail: '' };
  if (run && existsSync(givenUpFile(run.name))) {
    return { ...listed, state: 'failed', detail: `to start its container: see journalctl -u ${run.unit}` };
  }
  const far = peer === undefined ? undefined : readFarFile(id);
  if (far && 'trouble' in far)
    return { ...listed, state: 'waiting', detail: `for ${describePeer(peer as string)}: ${far.trouble}` };
  if (absent) return { ...listed, state: 'waiting', detail: `for ${describePlace(absent.place)}` };
  if (service.active === 'active') return { ...listed, state: 'connected', detail: status };
  const started = run ? (await systemd.state(run.unit)).active === 'active' : peer === undefined || far;
  const asleep = link.trigger && !started;
  return { ...listed, state: asleep ? 'sleeping' : 'listening', detail: '' };
}

function describeEnd(end: End): ListedEnd {
  return { url: endUrl(end), place: describePlace(end.place) };
}

/** The tunnel that a link leads through, or that its head is in. */
function tunnelOf({ head, child }: Link, tunnels: Tunnel[]): { tunnel?: string } {
  if (child?.kinship === 'tunnel' || child?.kinship === 'udptunnel') return { tunnel: child.peer as string };
  const around = tunnels.find(({ local }) => local === head.host);
  return around ? { tunnel: around.peer } : {};
}

/** The tail, or where another machine has it. */
function describeTail({ id, link }: Pick<NamedLink, 'id' | 'link'>): ListedEnd {
  if (link.child?.peer === undefined) return describeEnd(tailOf(link));
  const far = readFarFile(id);
  const url = far && 'address' in far ? `${link.head.protocol}://${far.address}` : '';
  return { url, place: describePeer(link.child.peer) };
}

/** Recipes may hold secrets, and these are in no unit file: root alone is shown them. */
function leaving(): ListedLink[] {
  return process.geteuid?.() === 0
    ? openDebts().flatMap((debt) => (isTunnels(debt) ? [] : describeDebt(debt)))
    : [];
}

/** What is left of a link that is deleted: its part on a machine that cannot be told yet. */
function describeDebt({ id, peer, recipe }: PartDebt): ListedLink {
  const { head } = recipeFromText(recipe);
  const detail = `${describePeer(peer)} has its part until it can be told`;
  return {
    id,
    head: describeEnd(head),
    tail: { url: '', place: describePeer(peer) },
    state: 'leaving',
    detail,
    recipe,
  };
}
