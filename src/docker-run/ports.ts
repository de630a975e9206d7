import { isIP } from 'node:net';
import { RunArgumentError } from './request.js';

/** Where the engine listens for a port of a container. `HostPort` '' is a free one; 'A-B' is a free one of these. */
export interface PortBinding {
  HostIp: string;
  HostPort: string;
}

const form = /^(?:(\[[^\]]*\]|[^:[\]]*):)?(?:(\d+(?:-\d+)?)?:)?(\d+(?:-\d+)?)(?:\/([a-z]+))?$/i;

/**
 * Reads the value of --publish: `[[IP:][HOST-PORT]:]PORT[/PROTOCOL]`, where a port may be a range `A-B`. An IPv6
 * address stands in brackets. Many ports of a container need as many of the host; one may have a range to choose from.
 *
 * @returns pairs of `PORT/PROTOCOL` and binding
 * @throws RunArgumentError
 */
export function readPublish(text: string): [port: string, binding: PortBinding][] {
  const parts = split(text);
  const [first, last] = range(parts.port);
  const host = parts.host === '' ? undefined : range(parts.host);
  const count = last - first + 1;
  if (host !== undefined && count > 1 && host[1] - host[0] + 1 !== count)
    throw new RunArgumentError('the ranges differ in length');
  return Array.from({ length: count }, (_, i): [string, PortBinding] => [
    `${first + i}/${parts.protocol}`,
    { HostIp: parts.ip, HostPort: host === undefined || count === 1 ? parts.host : `${host[0] + i}` },
  ]);
}

function split(text: string): { ip: string; host: string; port: string; protocol: string } {
  let [, ip, host, port = '', protocol = 'tcp'] = form.exec(text) ?? [];
  // 8080:80 has one part before the port, and that is a port; 127.0.0.1::80 has an empty one besides.
  if (host === undefined && ip !== undefined && /^\d*(-\d+)?$/.test(ip)) [ip, host] = [undefined, ip];
  const address = ip?.replace(/^\[(.*)\]$/, '$1') ?? '';
  if (port === '' || (address !== '' && (isIP(address) === 0 || text.split(':').length < 3)))
    throw new RunArgumentError('write [[IP:][HOST-PORT]:]PORT[/PROTOCOL], with an IPv6 address in brackets');
  if (!/^(tcp|udp|sctp)$/i.test(protocol)) throw new RunArgumentError('a protocol is tcp, udp or sctp');
  return { ip: address, host: host ?? '', port, protocol: protocol.toLowerCase() };
}

function range(text: string): [first: number, last: number] {
  const [first = 0, last = first] = text.split('-').map(Number);
  if (first < 1 || last > 65535 || last < first) throw new RunArgumentError('ports go from 1 to 65535');
  return [first, last];
}
