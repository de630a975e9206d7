import { interfaceOf, tunnelNumber } from '../ipsec/names.js';
import { address } from '../recipe/describe.js';
import { addressesOf, farChildOf, type Link, localTailOf, namedTailOf } from '../recipe/link.js';
import { kindOf } from '../recipe/protocols.js';
import { isUnix } from '../recipe/recipe.js';
import { frontOptions, tailOptions } from './balance.js';
import { FAR_SOCKET, farFile, givenUpFile, nameFile, nameSocket, OWN_DIRECTORY } from './names.js';
import type { PlannedLink } from './plan.js';
import { isUnitRun, tailRunOf } from './runs.js';
import { threadsOf } from './workers.js';

/** After this many seconds of silence, the other machine or the wire to it counts as gone. */
const PEER_TIMEOUT = 30;

/** The options that the forwarder of a link is started with. */
export function forwarderOptions(planned: PlannedLink): string[] {
  return [
    ...targetOptions(planned.link),
    ...timeoutOptions(planned),
    ...limitOptions(planned),
    ...accessOptions(planned),
    ...proxyOptions(planned),
    ...frontOptions(planned),
    ...tailOptions(planned),
    ...(threadsOf(planned)?.options ?? []),
  ];
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

/** How long the forwarder waits for what. */
function timeoutOptions({ link, options: { startTimeout, udpTimeout } }: PlannedLink): string[] {
  const options = link.idle === undefined ? [] : ['--idle', String(link.idle)];
  if (udpTimeout !== undefined && hasDatagrams(link)) options.push('--udp-timeout', String(udpTimeout));
  const run = tailRunOf(link);
  if (run) options.push('--dial-timeout', String(startTimeout), '--given-up', seen(givenUpFile(run.name)));
  if (run && isUnitRun(run)) options.push('--restarter', FAR_SOCKET);
  if (farChildOf(link))
    options.push('--dial-timeout', String(startTimeout), '--peer-timeout', String(PEER_TIMEOUT));
  return options;
}

/**
 * The limits on the clients of the link that was created. With several tails, the front admits clients; their sessions are in the
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

/** What the forwarder does with PROXY headers. In a link with children, only the first link meets the clients. */
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
export function seesUsers(planned: PlannedLink): boolean {
  return proxyOptions(planned).includes('v2') && addressesOf(planned.link.head).some(isUnix);
}

/** The path at which the forwarder sees a file of its link's directory. */
function seen(file: string): string {
  return `${OWN_DIRECTORY}/${file.split('/').at(-1)}`;
}
