import { posix } from 'node:path';
import { interfaceOf, tunnelNumber } from '../ipsec/names.js';
import { address, describeEnd, describePeer, describePlace, describeTail } from '../recipe/describe.js';
import {
  type Address,
  addressesOf,
  farChildOf,
  type Link,
  localChildOf,
  localTailOf,
  namedTailOf,
  unitOfTail,
} from '../recipe/link.js';
import { kindOf } from '../recipe/protocols.js';
import { isPath, isUnix } from '../recipe/recipe.js';
import { servicesOf } from '../recipe/services.js';
import { storedRecipeText } from '../recipe/text.js';
import { followsHealth, frontOptions, tailOptions, tailsDirectory } from './balance.js';
import { addDigest } from './digest.js';
import { clientFilter, mayBeLoopback, type Routing, targetFamilies, targetFilter } from './ip-filter.js';
import { listenersOf } from './listeners.js';
import {
  countersFile,
  FAR_SOCKET,
  farFile,
  followUnit,
  givenUpFile,
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
} from './names.js';
import type { PlannedLink } from './plan.js';
import { isServiceRun, type Run, runsOf } from './runs.js';
import { threadsOf } from './workers.js';

/** After this many seconds of silence, the other machine or the wire to it counts as gone. */
const PEER_TIMEOUT = 30;

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

/** What units are rendered with. */
export interface Renderer {
  installation: Installation;
  templates: Templates;
  routing: Routing;
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

function renderService(planned: PlannedLink, { installation, templates, routing }: Renderer): UnitFile {
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
    ...unixPaths(link),
    group: tail && isPath(tail) ? options.group : undefined,
    ...tailsDirectory(link),
    options: [
      ...targetOptions(link),
      ...timeoutOptions(planned),
      ...limitOptions(planned),
      ...accessOptions(planned),
      ...proxyOptions(planned),
      ...frontOptions(planned),
      ...tailOptions(planned),
      ...(threads?.options ?? []),
    ],
    threads,
    cpuLimits: threads?.cpuLimits ?? [],
    seesUsers: seesUsers(planned),
    tailNetnsUnit: tailNetnsUnit(link),
    tailNetnsPath: tail && netnsPath(tail.place),
    filter: targetFilter(link, routing),
    families: targetFamilies(link),
    libraryPath: installation.libraries.join(':'),
    linkDirectory: needsState(link) ? linkDirectory(id) : undefined,
    ownDirectory: OWN_DIRECTORY,
    farSocket: farChildOf(link) || startsService(link) ? FAR_SOCKET : undefined,
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

/** Where the forwarder connects to. It reads the address of a far tail, or those of a name, from a file, since they may change. */
function targetOptions(link: Link): string[] {
  if (link.tails) return [];
  const tail = localTailOf(link);
  const named = namedTailOf(link);
  if (named) {
    const files = ['--to-file', seen(nameFile(link.id)), '--ask', seen(nameSocket(link.id))];
    return ['--name', address(named), ...files];
  }
  return tail ? ['--to', address(tail)] : ['--to-file', seen(farFile(link.id)), '--ask', FAR_SOCKET];
}

/** Where a link leads to, for the journal. */
function placeText(link: Link): string {
  const tail = localTailOf(link);
  const unit = unitOfTail(link);
  if (tail) return `${describePlace(tail.place)}${unit === undefined ? '' : ` (${unit})`}`;
  return link.tails ? `${link.tails.length} tails` : describePeer(farChildOf(link)?.peer ?? '');
}

/** Whether the link starts a service for its tail. */
function startsService(link: Link): boolean {
  return runsOf(link).some(isServiceRun);
}

/** The path at which the forwarder sees a file of its link's directory. */
function seen(file: string): string {
  return `${OWN_DIRECTORY}/${file.split('/').at(-1)}`;
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

/** What the forwarder does not see unless a socket that it needs is there. */
const HIDDEN = ['/root', '/tmp', '/var/tmp'];

/** What of /run it does not see when a socket that it needs is there: sockets that rule a machine, or tell of it. */
const HIDDEN_IN_RUN = [
  ...['containerd', 'credentials', 'dbus', 'docker', 'docker.sock', 'podman', 'user', 'wormhole.sock'],
  ...['systemd/private', 'systemd/userdb', 'systemd/io.system.ManagedOOM'],
  // Not journal/socket, to which it logs.
  ...['dev-log', 'io.systemd.journal', 'stdout', 'streams', 'syslog'].map(
    (name) => `systemd/journal/${name}`,
  ),
].map((name) => `/run/${name}`);

/**
 * The directories that the forwarder has to see: that of its target, in which a socket that is created again is found, and those in
 * which clients of datagrams have the sockets that answers go to. And what stays hidden nevertheless.
 */
function unixPaths(link: Link): { directories: string[]; hidden: string[]; protectHome: 'yes' | 'tmpfs' } {
  const tail = localTailOf(link);
  const tails = tail ? pathsOf(addressesOf(tail)) : [];
  const heads = pathsOf(addressesOf(link.head).filter(({ protocol }) => protocol === 'unixgram'));
  const clients = heads.length > 0 ? ['/tmp', '/var/tmp'] : [];
  const seen = [...new Set([...[...tails, ...heads].map((path) => posix.dirname(path)), ...clients])];
  const isSeen = (path: string): boolean =>
    [...tails, ...seen].some((one) => `${one}/`.startsWith(`${path}/`));
  const inRun = seen.some((directory) => directory === '/run' || directory === '/var/run')
    ? HIDDEN_IN_RUN
    : [];
  return {
    directories: seen.map((directory) => `-${directory}`),
    hidden: [...HIDDEN, ...inRun].filter((path) => !isSeen(path)).map((path) => `-+${path}`),
    protectHome: seen.some((directory) => /^\/(home|root|run\/user)(\/|$)/.test(directory)) ? 'tmpfs' : 'yes',
  };
}

function pathsOf(addresses: Address[]): string[] {
  return addresses.flatMap((one) => (isUnix(one) && isPath(one) ? [one.path] : []));
}

/** How long the forwarder waits for what. */
function timeoutOptions({ link, options: { startTimeout, udpTimeout } }: PlannedLink): string[] {
  const options = link.idle === undefined ? [] : ['--idle', String(link.idle)];
  if (udpTimeout !== undefined && hasDatagrams(link)) options.push('--udp-timeout', String(udpTimeout));
  const run = tailRunOf(link);
  if (run) options.push('--dial-timeout', String(startTimeout), '--given-up', seen(givenUpFile(run.name)));
  if (run && isServiceRun(run)) options.push('--restarter', FAR_SOCKET);
  if (farChildOf(link))
    options.push('--dial-timeout', String(startTimeout), '--peer-timeout', String(PEER_TIMEOUT));
  return options;
}

/**
 * The limits on the clients of the link that was created. Of several tails, the front lets clients in; their sessions are in the
 * forwarders of the tails, which have room for as many, count them for it, and end those that are idle.
 */
function limitOptions({ parent, owner, tailOf, link, options }: PlannedLink): string[] {
  if ((parent !== undefined && tailOf === undefined) || owner) return [];
  const { maxConnections, maxPerSource, rate, idleTimeout, keepAlive } = options;
  const all = {
    '--max-connections': maxConnections,
    '--max-sessions': hasDatagrams(link) ? maxConnections : undefined,
    '--max-per-source': maxPerSource,
    '--rate': tailOf === undefined ? rate : undefined,
    '--idle-timeout': link.tails ? undefined : idleTimeout,
    '--keepalive': keepAlive,
  };
  return Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [name, `${value}`]));
}

function hasDatagrams({ head }: Link): boolean {
  return addressesOf(head).some(({ protocol }) => kindOf(protocol) === 'datagram');
}

/** Which clients the forwarder admits: all, except on the far part of another machine's link. */
function accessOptions({ owner }: PlannedLink): string[] {
  if (!owner) return [];
  const options = ['--allow', owner.address, '--peer-timeout', String(PEER_TIMEOUT)];
  if (owner.tunnel !== undefined) options.push('--interface', interfaceOf(tunnelNumber(owner.tunnel)));
  return options;
}

/** What the forwarder does with PROXY headers. Of a link with children only the first one meets the clients. */
function proxyOptions({
  parent,
  owner,
  options: { proxyProtocol, acceptProxyProtocol },
}: PlannedLink): string[] {
  if (parent !== undefined || owner) return [];
  return [
    ...(proxyProtocol === undefined ? [] : ['--proxy-protocol', proxyProtocol]),
    ...(acceptProxyProtocol === undefined ? [] : ['--accept-proxy-protocol', acceptProxyProtocol.join(',')]),
  ];
}

/** Whether the forwarder tells its target which user a client is. In a user namespace of its own, all others are nobody. */
function seesUsers(planned: PlannedLink): boolean {
  return proxyOptions(planned).includes('v2') && addressesOf(planned.link.head).some(isUnix);
}

function present(units: (string | undefined)[]): string[] {
  return units.filter((unit) => unit !== undefined);
}
