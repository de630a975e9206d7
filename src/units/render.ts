import { address, describePeer, describePlace } from '../recipe/describe.js';
import { type End, type Link, tailOf } from '../recipe/link.js';
import { recipeText } from '../recipe/text.js';
import { quoteArgument } from './escape.js';
import { FAR_SOCKET, farFile, givenUpFile, netnsPath, netnsUnit, serviceUnit, socketUnit } from './names.js';
import type { NamedLink } from './plan.js';
import { runsOf } from './runs.js';

/** After so many seconds of silence, the other machine or the wire to it is taken to be gone. */
const PEER_TIMEOUT = 30;

/** One unit file: the unit's name and the whole text. */
export interface UnitFile {
  name: string;
  text: string;
}

/** Where the installed program is: `cli` runs as `wormhole`. `flags` are node's, to run the forwarder with. */
export interface Installation {
  node: string;
  cli: string;
  forwarder: string;
  flags: string[];
}

/** Renders values to the text of a unit. */
export type Template = (values: Record<string, unknown>) => string;

/** The templates of the units of a link: every link has the first two, one that runs containers the third. */
export interface Templates {
  socket: Template;
  service: Template;
  run: Template;
}

/** Where an end is, in words: `127.0.0.1:3306 in container mysql`. */
export function describeEnd(end: End): string {
  return `${address(end)} ${end.place.kind === 'host' ? 'on' : 'in'} ${describePlace(end.place)}`;
}

/** Where a link leads to, in words: as {@link describeEnd}, or the machine that has its tail. */
export function describeTail(link: Link): string {
  return link.child?.peer === undefined ? describeEnd(tailOf(link)) : describePeer(link.child.peer);
}

/**
 * The unit files of one link: its socket, its service, and one for each container that it starts.
 *
 * @throws Error when an end lacks its port, which is chosen before
 */
export function renderLink(named: NamedLink, where: Installation, templates: Templates): UnitFile[] {
  const { id, parent, root, openedBy, link, options, far, owner } = named;
  const { head, child } = link;
  const tail = tailOf(link);
  if (head.port === undefined || (tail.port === undefined && child?.peer === undefined))
    throw new Error(`link ${id} has an end without a port`);
  const runs = runsOf(named);
  const tailRun = runs.find((run) => run.end === 'tail');
  const childSocket = child && child.peer === undefined ? socketUnit(child.link.id as string) : undefined;
  // A child that is opened by its parent's run is ordered before it; every other one the forwarder asks for itself.
  const asksForChild = childSocket && (child?.kinship === 'chain' || (link.trigger && !tailRun));
  const common = { id, root, ...where };
  const units = [
    {
      name: socketUnit(id),
      text: templates.socket({
        ...common,
        parent,
        openedBy,
        description: `Wormhole ${id}: ${describeEnd(head)}, to ${describeTail(link)}`,
        head: address(head),
        headNetnsUnit: netnsUnit(head.place),
        headNetnsPath: netnsPath(head.place),
        // What a trigger brings is not there before the first connection.
        needs: present([
          runs.find((run) => run.end === 'head')?.unit,
          link.trigger ? undefined : netnsUnit(tail.place),
          link.trigger ? undefined : tailRun?.unit,
        ]),
        freeBind: !isAlwaysThere(head.host ?? ''),
        wantedBy: head.place.kind === 'host' ? 'sockets.target' : 'multi-user.target',
        recipe: parent === undefined ? recipeText(link) : undefined,
        owner,
        throughTunnel: owner?.tunnel,
        far,
        ...options,
      }),
    },
    {
      name: serviceUnit(id),
      text: templates.service({
        ...common,
        forwarderDescription: `Wormhole ${id}: forwarder to ${describeTail(link)}`,
        socket: socketUnit(id),
        needs: present([netnsUnit(tail.place), tailRun?.unit, asksForChild ? childSocket : undefined]),
        place: child?.peer === undefined ? describePlace(tail.place) : describePeer(child.peer),
        options: [...target(named), ...patience(named, tailRun?.name), ...guard(named)],
        tailNetnsUnit: netnsUnit(tail.place),
        tailNetnsPath: netnsPath(tail.place),
      }),
    },
  ];
  for (const run of runs) {
    const { place } = run.end === 'head' ? head : tail;
    units.push({
      name: run.unit,
      text: templates.run({
        ...common,
        name: run.name,
        own: place.kind === 'run',
        description: `Wormhole ${id}: ${place.kind === 'run' ? 'its container' : describePlace(place)}`,
        netnsUnit: netnsUnit(place),
        sockets: present([run.end === 'head' ? socketUnit(id) : asksForChild ? undefined : childSocket]),
        idle: link.idle,
        command: [where.node, where.cli].map(quoteArgument).join(' '),
        atBoot: openedBy === undefined && !link.trigger,
      }),
    });
  }
  return units;
}

/** Where the forwarder connects to. Of a far end it reads the address where that is kept, for it may change. */
function target({ id, link }: NamedLink): string[] {
  if (link.child?.peer === undefined) return ['--to', address(tailOf(link))];
  return ['--to-file', farFile(id), '--ask', FAR_SOCKET];
}

/** How long the forwarder waits for what. */
function patience({ link, options: { startTimeout } }: NamedLink, run: string | undefined): string[] {
  const options = link.idle === undefined ? [] : ['--idle', String(link.idle)];
  if (run !== undefined) options.push('--dial-timeout', String(startTimeout), '--given-up', givenUpFile(run));
  if (link.child?.peer !== undefined)
    options.push('--dial-timeout', String(startTimeout), '--peer-timeout', String(PEER_TIMEOUT));
  return options;
}

/** Whom the forwarder lets in: everybody, but for the far part of another machine's link. */
function guard({ owner }: NamedLink): string[] {
  return owner ? ['--allow', owner.address, '--peer-timeout', String(PEER_TIMEOUT)] : [];
}

function present(units: (string | undefined)[]): string[] {
  return units.filter((unit) => unit !== undefined);
}

function isAlwaysThere(host: string): boolean {
  return /^127\.|^0\.0\.0\.0$|^::1?$/.test(host);
}
