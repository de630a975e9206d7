import { createHash } from 'node:crypto';
import type { PlaceId } from '../recipe/link.js';
import { RESERVED_IDS } from '../recipe/names.js';
import { escapeUnitName, unescapeUnitName } from './escape.js';

/** Where wormhole-netns@.service keeps its mounts: one file per namespace, named after the unit's instance. */
export const NETNS_DIR = '/run/wormhole/netns';

/** The prefixes of places that are not containers of the user's: no container name has a colon. */
const NAMED = 'netns:';
const RUN = 'run:';

/** The longest path of a socket, bytes (unix(7)). */
const LONGEST_PATH = 107;

/** The socket unit of the link with that id: its head. */
export function socketUnit(id: string): string {
  return `wormhole-${id}.socket`;
}

/** The service unit of the link with that id: its forwarder. */
export function serviceUnit(id: string): string {
  return `wormhole-${id}.service`;
}

/** The unit that delays the next start of a forwarder which has failed to start. */
export function startFailureUnit(id: string): string {
  return `wormhole-start-failure@${id}.service`;
}

/** Whether a text can be the id of a link: whether its units would be a link's, and files of their directory. */
export function isId(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(text) && idOfUnit(serviceUnit(text)) === text;
}

/** The link's id in the name of its socket or service unit; undefined for every other unit, static ones included. */
export function idOfUnit(name: string): string | undefined {
  const id = /^wormhole-([^@]+)\.(?:socket|service)$/.exec(name)?.[1];
  return id === undefined || RESERVED_IDS.includes(id) || id.endsWith('-run') ? undefined : id;
}

/** The service unit that starts what an end of a link needs: a container of its own, or one that may be stopped. */
export function runUnit(name: string): string {
  return `wormhole-${name}-run.service`;
}

/** The unit that is active while a service runs that a link starts, and takes what starts it along when that ends. */
export function followUnit(service: string): string {
  return `wormhole-unit@${service}.target`;
}

/** A file that exists while a service runs that a connection to a link has started; `name` is that of the run. */
export function startedFile(name: string): string {
  return `${linkDirectory(name)}/started`;
}

/** Where a forwarder sees its {@link linkDirectory}, whatever its link is called, so that none sees the names of others. */
export const OWN_DIRECTORY = '/run/wormhole/link';

/**
 * Holds what a forwarder is told while it runs, until the next boot: {@link givenUpFile} and {@link farFile}. Each link has a
 * directory of its own, and its forwarder sees no other. The socket of a link that needs it creates it. Its path leaves room for
 * that of {@link nameSocket}.
 */
export function linkDirectory(name: string): string {
  return `/run/wormhole/links/${shortened(name, 83)}`;
}

/** A file that exists while the container of a run cannot be started: the forwarder then closes its clients. */
export function givenUpFile(name: string): string {
  return `${linkDirectory(name)}/given-up`;
}

/** Where the forwarders of tails take clients over. Only root may enter it; a front forwarder sees the directory of its link. */
export const HAND_OFF_DIR = '/run/wormhole/hand-off';

/** Where a front forwarder sees the {@link handOffDirectory} of its link. */
export const TAILS_DIRECTORY = '/run/wormhole/tails';

/** Holds the sockets of the tails of a link that has several. */
export function handOffDirectory(id: string): string {
  return `${HAND_OFF_DIR}/${shortened(id, 40)}`;
}

/** Where the forwarder of a tail takes over the clients of the link `front`. */
export function handOffSocket(front: string, tail: string): string {
  const directory = handOffDirectory(front);
  return `${directory}/${shortened(tail, LONGEST_PATH - directory.length - 1)}`;
}

/** A name for an id in the path of a socket, of at most `most` characters. It is the id if that fits; no id has a "~". */
function shortened(id: string, most: number): string {
  if (id.length <= most) return id;
  const digest = createHash('sha256').update(id).digest('hex').slice(0, 16);
  return `${id.slice(0, most - digest.length - 1)}~${digest}`;
}

/** What the lock is named after that is held while the machines of the services of a link are looked up. */
export function refreshLockName(id: string): `service-refresh-${string}` {
  return `service-refresh-${shortened(id, 100)}`;
}

/** The file that says which tails of a link get no new client, one name a line; as long as it is absent, its unit does. */
export function drainedFile(id: string): string {
  return `${linkDirectory(id)}/drained`;
}

/** The file with the tails of a link whose containers are not healthy, one name a line. */
export function unhealthyFile(id: string): string {
  return `${linkDirectory(id)}/unhealthy`;
}

/** Where the forwarders' figures are, a file a link; tmpfiles/wormhole.conf creates it at boot. */
export const COUNTERS_DIR = '/run/wormhole/counters';

/** The file with the figures of a link's forwarder, which systemd opens for it. */
export function countersFile(id: string): string {
  return `${COUNTERS_DIR}/${id}`;
}

/** Where wormhole-far.service writes what it knows of the far end of a link. */
export function farFile(id: string): string {
  return `${linkDirectory(id)}/far`;
}

/** Where a forwarder that cannot reach its far end asks for its address: wormhole-far.socket. */
export const FAR_SOCKET = '/run/wormhole-far.sock';

/** The timer that has the machines of a link's services looked up while its forwarder runs. */
export function refreshTimer(id: string): string {
  return `wormhole-services@${id}.timer`;
}

/** The service that follows the health of a link's containers while its forwarder runs. */
export function healthUnit(id: string): string {
  return `wormhole-health@${id}.service`;
}

/** The units that look up the name of the tail of a link: where its forwarder asks, and the service that is started so. */
export function nameUnits(id: string): { socket: string; service: string } {
  return { socket: `wormhole-names@${id}.socket`, service: `wormhole-names@${id}.service` };
}

/** What is known of the name of a link's tail: its addresses. systemd opens it for the service that looks the name up. */
export function nameFile(id: string): string {
  return `${linkDirectory(id)}/name`;
}

/** Where the forwarder of a link asks for the name of its tail to be looked up. */
export function nameSocket(id: string): string {
  return `${linkDirectory(id)}/ask`;
}

/** Where the service that looks names up sees {@link resolverDirectory}. */
export const OWN_RESOLVER = '/run/wormhole/resolver';

/** Holds the resolv.conf and hosts of a network namespace, while it is mounted; undefined for the host's own. */
export function resolverDirectory(place: PlaceId): string | undefined {
  const instance = netnsInstance(place);
  // A path that goes into lists of bind mounts, where it may have no colon and no backslash.
  return instance === undefined
    ? undefined
    : `/run/wormhole/resolvers/${createHash('sha256').update(instance).digest('hex').slice(0, 32)}`;
}

/** The instance of wormhole-netns@.service that stands for a place; undefined for the host's own namespace. */
export function netnsInstance(place: PlaceId): string | undefined {
  if (place.kind === 'container') return place.name;
  if (place.kind === 'netns') return `${NAMED}${escapeUnitName(place.name)}`;
  if (place.kind === 'run') return `${RUN}${place.name}`;
  return undefined;
}

/** The place that an instance of wormhole-netns@.service stands for. */
export function placeOfInstance(instance: string): PlaceId & { name: string } {
  if (instance.startsWith(NAMED))
    return { kind: 'netns', name: unescapeUnitName(instance.slice(NAMED.length)) };
  if (instance.startsWith(RUN)) return { kind: 'run', name: instance.slice(RUN.length) };
  return { kind: 'container', name: instance };
}

/** The unit that keeps a place's namespace at {@link netnsPath}; undefined for the host's own. */
export function netnsUnit(place: PlaceId): string | undefined {
  const instance = netnsInstance(place);
  return instance === undefined ? undefined : `wormhole-netns@${instance}.service`;
}

/** The file that a place's namespace is mounted on while its {@link netnsUnit} is active; undefined for the host's own. */
export function netnsPath(place: PlaceId): string | undefined {
  const instance = netnsInstance(place);
  return instance === undefined ? undefined : `${NETNS_DIR}/${instance}`;
}
