import { describeEnd, describePeer, describePlace, describeTail } from '../recipe/describe.js';
import { farChildOf, type Link, localChildOf, localTailOf, namedTailOf, unitOfTail } from '../recipe/link.js';
import { isPath } from '../recipe/recipe.js';
import { servicesOf } from '../recipe/services.js';
import { storedRecipeText } from '../recipe/text.js';
import { followsHealth, tailsDirectory } from './balance.js';
import { addDigest } from './digest.js';
import { forwarderOptions, seesUsers } from './forwarder-options.js';
import { clientFilter, mayBeLoopback, type Routing, targetFamilies, targetFilter } from './ip-filter.js';
import { listenersOf } from './listeners.js';
import {
  countersFile,
  FAR_SOCKET,
  followUnit,
  HAND_OFF_DIR,
  handOffDirectory,
  healthUnit,
  linkDirectory,
  nameFile,
  nameSocket,
  nameUnits,
  netnsPath,
  netnsUnit,
  OWN_DIRECTORY,
  OWN_RESOLVER,
  refreshTimer,
  resolverDirectory,
  serviceUnit,
  socketUnit,
  startFailureUnit,
} from './names.js';
import type { PlannedLink } from './plan.js';
import { isUnitRun, type Run, runsOf, tailRunOf } from './runs.js';
import { visiblePaths } from './visible-paths.js';
import { threadsOf } from './workers.js';

/** One unit file: the unit's name and the whole text. */
export interface UnitFile {
  name: string;
  text: string;
}

/**
 * Where the installed program is: `cli` runs as `wormhole`. `flags` are node's, to run the forwarder with.
 *
 * The forwarder sees `rootDirectory`, an empty directory, in which `files` are what it needs to run, each at its own path. `libraries` are
 * the directories of its shared libraries.
 */
export interface Installation {
  node: string;
  cli: string;
  forwarder: string;
  flags: string[];
  rootDirectory: string;
  files: string[];
  libraries: string[];
}

/** Renders values to the text of a unit. */
export type Template = (values: Record<string, unknown>) => string;

/**
 * The templates of the units of a link: every link has the first two, one that runs containers the third, and one whose tail has a
 * name the last two.
 */
export interface Templates {
  socket: Template;
  service: Template;
  run: Template;
  nameSocket: Template;
  nameService: Template;
}

/** What units are rendered with. `systemd` is its version, such as 252; undefined where there is none, and units are only looked at. */
export interface Renderer {
  installation: Installation;
  templates: Templates;
  routing: Routing;
  systemd: number | undefined;
}

/** The unit files of one link: its socket, its service, and one for each container that it starts. */
export function renderLink(planned: PlannedLink, renderer: Renderer): UnitFile[] {
  return [
    renderSocket(planned, renderer),
    renderService(planned, renderer),
    ...runsOf(planned.link).map((run) => renderRun(run, planned, renderer)),
    ...renderName(planned, renderer),
  ];
}

function renderSocket(planned: PlannedLink, { installation, templates }: Renderer): UnitFile {
  const { id, parent, root, openedBy, tailOf, link, options, far, owner, creator } = planned;
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
      ...(link.tails ?? []).map((tail) => socketUnit(tail.id)),
      runs.find(({ end }) => end === 'head')?.unit,
      link.trigger ? undefined : tailNetnsUnit(link),
      link.trigger ? undefined : tailRunOf(link)?.unit,
    ]),
    clients: owner ? undefined : clientFilter(head),
    linkDirectory: needsState(link) ? linkDirectory(id) : undefined,
    wantedBy: head.place.kind === 'host' ? 'sockets.target' : 'multi-user.target',
    recipe: parent === undefined ? storedRecipeText(link) : undefined,
    socketUser: options.socketOwner?.split(':')[0],
    socketGroup: options.socketOwner?.split(':')[1],
    owner,
    ownerIdentity: owner?.identity,
    creator,
    throughTunnel: owner?.tunnel,
    service: owner?.service,
    peer: peerOf(planned),
    far,
    ...options,
    acceptProxyProtocol: options.acceptProxyProtocol?.join(','),
    drained: planned.drained?.join(' '),
    farTails: Object.entries(far?.tails ?? {})
      .map((entry) => entry.join('='))
      .join(' '),
    ...(link.tails && handOffDirectories(id)),
    ...(tailOf !== undefined && ofHandOff(tailOf)),
  });
  return { name: socketUnit(id), text: addDigest(text) };
}

/** What differs for a socket where a front forwarder hands clients over: its directory keeps others away, and not its mode. */
function ofHandOff(front: string): Record<string, unknown> {
  return {
    ...handOffDirectories(front),
    socketMode: undefined,
    socketUser: undefined,
    socketGroup: undefined,
  };
}

/** The directories that are made before a front or one of its tails listens, since any of them may be the first at boot. */
function handOffDirectories(front: string): Record<string, string> {
  return { handOffRoot: HAND_OFF_DIR, handOffDirectory: handOffDirectory(front) };
}

/** Since this version, a service that is started again by Restart= fails in between, which starts its OnFailure=, unless RestartMode= says otherwise. */
const HAS_RESTART_MODE = 254;

function renderService(
  planned: PlannedLink,
  { installation, templates, routing, systemd }: Renderer,
): UnitFile {
  const { id, root, link, options } = planned;
  const tail = localTailOf(link);
  const threads = threadsOf(planned);
  const text = templates.service({
    ...installation,
    // A program that is missing fails to execute, and not in a way that may pass.
    files: installation.files.map((path) => `-${path}`),
    id,
    root,
    forwarderDescription: `Wormhole ${id}: forwarder to ${describeTail(link)}`,
    socket: socketUnit(id),
    startFailureUnit: startFailureUnit(id),
    refreshTimer: servicesOf(link).length > 0 ? refreshTimer(id) : undefined,
    healthUnit: followsHealth(link, options) ? healthUnit(id) : undefined,
    needs: present([
      tailNetnsUnit(link),
      tailRunOf(link)?.unit,
      childSocketOfForwarder(link),
      namedTailOf(link) && nameUnits(id).socket,
    ]),
    place: placeText(link),
    countersFile: countersFile(id),
    ...visiblePaths(link),
    group: tail && isPath(tail) ? options.group : undefined,
    ...tailsDirectory(link),
    options: forwarderOptions(planned),
    threads,
    cpuLimits: threads?.cpuLimits ?? [],
    seesUsers: seesUsers(planned),
    restartsDirectly: systemd !== undefined && systemd >= HAS_RESTART_MODE,
    tailNetnsUnit: tailNetnsUnit(link),
    tailNetnsPath: tail && netnsPath(tail.place),
    filter: targetFilter(link, routing),
    families: targetFamilies(link),
    libraryPath: installation.libraries.join(':'),
    linkDirectory: needsState(link) ? linkDirectory(id) : undefined,
    ownDirectory: OWN_DIRECTORY,
    farSocket: farChildOf(link) || runsOf(link).some(isUnitRun) ? FAR_SOCKET : undefined,
    peer: peerOf(planned),
  });
  return { name: serviceUnit(id), text: addDigest(text) };
}

function renderRun(
  { end, name, unit, place }: Run,
  { id, root, openedBy, link }: PlannedLink,
  { installation, templates }: Renderer,
): UnitFile {
  const service = place.kind === 'unit' ? place.name : undefined;
  const text = templates.run({
    ...installation,
    service,
    followUnit: service && followUnit(service),
    id,
    root,
    name,
    own: place.kind === 'run',
    description: `Wormhole ${id}: ${describeRun(place)}`,
    netnsUnit: place.kind === 'unit' ? undefined : netnsUnit(place),
    sockets: present([end === 'head' ? socketUnit(id) : childSocketOfRun(link)]),
    idle: link.idle,
    atBoot: openedBy === undefined && !link.trigger,
    envFiles: place.kind === 'run' && place.request.envFiles.length > 0,
  });
  return { name: unit, text: addDigest(text) };
}

function describeRun(place: Run['place']): string {
  if (place.kind === 'unit') return place.name;
  return place.kind === 'run' ? 'its container' : describePlace(place);
}

/** The units that look up the name of the tail, if it has one, while the forwarder runs. */
function renderName(
  { id, root, link }: PlannedLink,
  { installation, templates, routing }: Renderer,
): UnitFile[] {
  const tail = namedTailOf(link);
  if (!tail) return [];
  const { socket, service } = nameUnits(id);
  const directory = resolverDirectory(tail.place);
  const isOwn = tail.place.kind === 'container' || tail.place.kind === 'run';
  const values = {
    ...installation,
    files: installation.files.map((path) => `-${path}`),
    id,
    root,
    socket,
    description: `Wormhole ${id}: look up ${tail.host}`,
    ask: nameSocket(id),
    file: nameFile(id),
    name: tail.host,
    port: tail.port,
    options: mayBeLoopback(link, routing) ? ['--loopback'] : [],
    // A container has its own; a named namespace may have them, and has the machine's otherwise (ip-netns(8)).
    machines: isOwn ? [] : ['-/etc/hosts', '-/etc/resolv.conf'],
    resolver: directory && `-${directory}`,
    ownResolver: OWN_RESOLVER,
    tailNetnsUnit: tailNetnsUnit(link),
    tailNetnsPath: netnsPath(tail.place),
    libraryPath: installation.libraries.join(':'),
  };
  return [
    { name: socket, text: addDigest(templates.nameSocket(values)) },
    { name: service, text: addDigest(templates.nameService(values)) },
  ];
}

/** The other machine that a link leads to, or that it is a part for. */
function peerOf({ link, owner }: PlannedLink): string | undefined {
  return farChildOf(link)?.peer ?? owner?.machine;
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

/** Where a link leads to, for the journal. */
function placeText(link: Link): string {
  const tail = localTailOf(link);
  const unit = unitOfTail(link);
  if (tail) return `${describePlace(tail.place)}${unit === undefined ? '' : ` (${unit})`}`;
  return link.tails ? `${link.tails.length} tails` : describePeer(farChildOf(link)?.peer ?? '');
}

/** Whether the forwarder is told something while it runs. */
function needsState(link: Link): boolean {
  return (
    farChildOf(link) !== undefined ||
    tailRunOf(link) !== undefined ||
    namedTailOf(link) !== undefined ||
    link.tails !== undefined
  );
}

function present(units: (string | undefined)[]): string[] {
  return units.filter((unit) => unit !== undefined);
}
