import { existsSync } from 'node:fs';
import { describePlace, endUrl } from '../recipe/describe.js';
import { type End, tailOf } from '../recipe/link.js';
import { recipeText } from '../recipe/text.js';
import { connectSystemd, type Systemd } from '../systemd/systemd.js';
import { givenUpFile, netnsInstance, serviceUnit, socketUnit } from '../units/names.js';
import type { NamedLink } from '../units/plan.js';
import { runsOf } from '../units/runs.js';
import { readLinks } from './links.js';
import { isVoid } from './netns.js';

/** An end as `wormhole list` tells it: `place` in words, such as `this host` or `container mysql`. */
export interface ListedEnd {
  url: string;
  place: string;
}

/**
 * One link as `wormhole list` tells it. `parent` is the id of the link that it is a part of.
 *
 * `state` is `listening` (nobody is connected), `connected` (the forwarder runs), `sleeping` (it is, or what it leads to
 * is, started by a connection), `waiting` (an end's container or netns is not there), `failed` or `stopped`; `detail`
 * what the forwarder says of itself, what is waited for, or where to look.
 */
export interface ListedLink {
  id: string;
  parent?: string;
  head: ListedEnd;
  tail: ListedEnd;
  state: 'listening' | 'connected' | 'sleeping' | 'waiting' | 'failed' | 'stopped';
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
    return { links: await Promise.all(links.map((link) => describe(link, systemd))), unreadable };
  } finally {
    systemd.close();
  }
}

async function describe(named: NamedLink, systemd: Systemd): Promise<ListedLink> {
  const { id, parent, openedBy, link } = named;
  const tail = tailOf(link);
  const run = runsOf(named).find(({ end }) => end === 'tail');
  const [socket, service, status] = await Promise.all([
    systemd.state(socketUnit(id)),
    systemd.state(serviceUnit(id)),
    systemd.statusText(serviceUnit(id)),
  ]);
  const listed = {
    id,
    ...(parent === undefined ? {} : { parent }),
    head: describeEnd(link.head),
    tail: describeEnd(tail),
    recipe: recipeText(link),
  };
  const absent = [link.head, tail].find(({ place }) => isVoid(netnsInstance(place)));
  if (socket.active === 'failed')
    return { ...listed, state: 'failed', detail: `see journalctl -u ${socketUnit(id)}` };
  if (socket.active !== 'active') return { ...listed, state: openedBy ? 'sleeping' : 'stopped', detail: '' };
  if (run && existsSync(givenUpFile(run.name))) {
    return { ...listed, state: 'failed', detail: `to start its container: see journalctl -u ${run.unit}` };
  }
  if (absent) return { ...listed, state: 'waiting', detail: `for ${describePlace(absent.place)}` };
  if (service.active === 'active') return { ...listed, state: 'connected', detail: status };
  const asleep = link.trigger && run && (await systemd.state(run.unit)).active !== 'active';
  return { ...listed, state: asleep ? 'sleeping' : 'listening', detail: '' };
}

function describeEnd(end: End): ListedEnd {
  return { url: endUrl(end), place: describePlace(end.place) };
}
