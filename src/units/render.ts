import { posix } from 'node:path';
import { address, describeEnd, describePeer, describePlace, describeTail } from '../recipe/describe.js';
import { addressesOf, farChildOf, type Link, localChildOf, localTailOf } from '../recipe/link.js';
import { kindOf } from '../recipe/protocols.js';
import { isPath, isUnix } from '../recipe/recipe.js';
import { recipeText } from '../recipe/text.js';
import { quoteArgument } from './escape.js';
import { listenersOf } from './listeners.js';
import {
  countersFile,
  FAR_SOCKET,
  farFile,
  givenUpFile,
  netnsPath,
  netnsUnit,
  serviceUnit,
  socketUnit,
} from './names.js';
import type { PlannedLink } from './plan.js';
import { type Run, runsOf } from './runs.js';

/** After this many seconds of silence, the other machine or the wire to it counts as gone. */
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

/** What units are rendered with. */
export interface Renderer {
  installation: Installation;
  templates: Templates;
}

/** The unit files of one link: its socket, its service, and one for each container that it starts. */
export function renderLink(planned: PlannedLink, renderer: Renderer): UnitFile[] {
  return [
    renderSocket(planned, renderer),
    renderService(planned, renderer),
    ...runsOf(planned.link).map((run) => renderRun(run, planned, renderer)),
  ];
}

function renderSocket(planned: PlannedLink, { installation, templates }: Renderer): UnitFile {
  const { id, parent, root, openedBy, link, options, far, owner } = planned;
  const { head } = link;
  const runs = runsOf(link);
  const text = templates.socket({
    ...installation,
    id,
    root,
    parent,
    openedBy,
    description: `Wormhole ${id}: ${describeEnd(head)}, to ${describeTail(link)}`,
    ...listenersOf(head),
    headNetnsUnit: netnsUnit(head.place),
    headNetnsPath: netnsPath(head.place),
    // What a trigger starts is not there before the first connection.
    needs: present([
      runs.find(({ end }) => end === 'head')?.unit,
      link.trigger ? undefined : tailNetnsUnit(link),
      link.trigger ? undefined : tailRunOf(link)?.unit,
    ]),
    wantedBy: head.place.kind === 'host' ? 'sockets.target' : 'multi-user.target',
    recipe: parent === undefined ? recipeText(link) : undefined,
    socketUser: options.socketOwner?.split(':')[0],
    socketGroup: options.socketOwner?.split(':')[1],
    owner,
    throughTunnel: owner?.tunnel,
    far,
    ...options,
  });
  return { name: socketUnit(id), text };
}

function renderService(planned: PlannedLink, { installation, templates }: Renderer): UnitFile {
  const { id, root, link, options } = planned;
  const tail = localTailOf(link);
  const text = templates.service({
    ...installation,
    id,
    root,
    forwarderDescription: `Wormhole ${id}: forwarder to ${describeTail(link)}`,
    socket: socketUnit(id),
    needs: present([tailNetnsUnit(link), tailRunOf(link)?.unit, childSocketOfForwarder(link)]),
    place: tail ? describePlace(tail.place) : describePeer(farChildOf(link)?.peer ?? ''),
    countersFile: countersFile(id),
    ...hiddenDirectories(link),
    group: tail && isPath(tail) ? options.group : undefined,
    options: [...targetOptions(link), ...timeoutOptions(planned), ...accessOptions(planned)],
    tailNetnsUnit: tailNetnsUnit(link),
    tailNetnsPath: tail && netnsPath(tail.place),
  });
  return { name: serviceUnit(id), text };
}

function renderRun(
  { end, name, unit, place }: Run,
  { id, root, openedBy, link }: PlannedLink,
  { installation, templates }: Renderer,
): UnitFile {
  const text = templates.run({
    ...installation,
    id,
    root,
    name,
    own: place.kind === 'run',
    description: `Wormhole ${id}: ${place.kind === 'run' ? 'its container' : describePlace(place)}`,
    netnsUnit: netnsUnit(place),
    sockets: present([end === 'head' ? socketUnit(id) : childSocketOfRun(link)]),
    idle: link.idle,
    command: [installation.node, installation.cli].map(quoteArgument).join(' '),
    atBoot: openedBy === undefined && !link.trigger,
  });
  return { name: unit, text };
}

function tailRunOf(link: Link): Run | undefined {
  return runsOf(link).find(({ end }) => end === 'tail');
}

function tailNetnsUnit(link: Link): string | undefined {
  const tail = localTailOf(link);
  return tail && netnsUnit(tail.place);
}

/**
 * The socket of a local child that the forwarder starts. A child that is opened by the run of its parent is ordered before
 * that; see {@link childSocketOfRun}.
 */
function childSocketOfForwarder(link: Link): string | undefined {
  const child = localChildOf(link);
  const isForwarders = child?.kind === 'chain' || (link.trigger && !tailRunOf(link));
  return child && isForwarders ? socketUnit(child.link.id) : undefined;
}

/** The socket of a local child that has to listen before the container of its parent runs. */
function childSocketOfRun(link: Link): string | undefined {
  const child = localChildOf(link);
  return child && childSocketOfForwarder(link) === undefined ? socketUnit(child.link.id) : undefined;
}

/** Where the forwarder connects to. It reads the address of a far tail from a file, since that address may change. */
function targetOptions(link: Link): string[] {
  const tail = localTailOf(link);
  return tail ? ['--to', address(tail)] : ['--to-file', farFile(link.id), '--ask', FAR_SOCKET];
}

/** Directories that the forwarder does not see by itself: PrivateTmp=, ProtectHome=. */
const TEMPORARY = /^\/(tmp|var\/tmp)\//;
const HOME = /^\/(home|root|run\/user)\//;

/** What the forwarder has to see nevertheless: where its target is, and where clients of datagrams usually are. */
function hiddenDirectories(link: Link): { visible: string[]; isHomeHidden: boolean } {
  const tail = localTailOf(link);
  const { path = '' } = (tail && addressesOf(tail).find(isUnix)) ?? {};
  const isAtHome = HOME.test(path);
  const directories = isAtHome || TEMPORARY.test(path) ? [posix.dirname(path)] : [];
  if (addressesOf(link.head).some(({ protocol }) => protocol === 'unixgram'))
    directories.push('/tmp', '/var/tmp');
  return { visible: [...new Set(directories)], isHomeHidden: !isAtHome };
}

/** How long the forwarder waits for what. */
function timeoutOptions({ link, options: { startTimeout, udpTimeout } }: PlannedLink): string[] {
  const options = link.idle === undefined ? [] : ['--idle', String(link.idle)];
  if (udpTimeout !== undefined && hasDatagrams(link)) options.push('--udp-timeout', String(udpTimeout));
  const run = tailRunOf(link);
  if (run) options.push('--dial-timeout', String(startTimeout), '--given-up', givenUpFile(run.name));
  if (farChildOf(link))
    options.push('--dial-timeout', String(startTimeout), '--peer-timeout', String(PEER_TIMEOUT));
  return options;
}

function hasDatagrams({ head }: Link): boolean {
  return addressesOf(head).some(({ protocol }) => kindOf(protocol) === 'datagram');
}

/** Which clients the forwarder admits: all, except on the far part of another machine's link. */
function accessOptions({ owner }: PlannedLink): string[] {
  return owner ? ['--allow', owner.address, '--peer-timeout', String(PEER_TIMEOUT)] : [];
}

function present(units: (string | undefined)[]): string[] {
  return units.filter((unit) => unit !== undefined);
}
