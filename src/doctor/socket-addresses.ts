import type { SocketListener } from '../systemd/systemd.js';
import { listenersOf } from '../units/listeners.js';
import type { PlannedLink } from '../units/plan.js';

/** What the socket of a link listens on, as systemd tells it of any socket. */
export function listenersOfLink({ link }: { link: Pick<PlannedLink['link'], 'head'> }): SocketListener[] {
  return listenersOf(link.head).listen.map(({ setting, address }) => ({
    kind: setting.replace(/^Listen/, ''),
    address,
  }));
}

/** Whether two sockets of one network namespace cannot both listen, as far as their addresses tell. */
export function areInConflict(one: SocketListener, other: SocketListener): boolean {
  if (one.kind !== other.kind) return false;
  const [first, second] = [parse(one.address), parse(other.address)];
  if (!first || !second) return one.address === other.address;
  return first.port === second.port && (covers(first.host, second.host) || covers(second.host, first.host));
}

/** A wildcard of IPv6 takes clients of both families, unless it is set otherwise (ipv6(7)). */
function covers(host: string, other: string): boolean {
  return host === other || host === '::' || (host === '0.0.0.0' && !other.includes(':'));
}

/** Host and port; undefined of what is none, such as a path. */
function parse(address: string): { host: string; port: string } | undefined {
  if (/^[/@]/.test(address)) return undefined;
  const [, six, four, port] = /^(?:\[([^\]]*)\](?:%\w+)?|([\d.]+)):(\d+)$/.exec(address) ?? [];
  const host = six ?? four;
  return host === undefined || port === undefined ? undefined : { host, port };
}
