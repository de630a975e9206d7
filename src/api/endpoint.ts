import { isIPv6 } from 'node:net';
import { parsePeer } from '../recipe/names.js';
import { hostPort } from '../text/ip-address.js';

/** Where a `wormholed` is reached: over TCP by a host name or an IP address, or on a unix socket. */
export type Endpoint = TcpEndpoint | { kind: 'unix'; path: string };

/** Where a `wormholed` is reached over TCP. */
export interface TcpEndpoint {
  kind: 'tcp';
  host: string;
  port: number;
}

/** The TCP port of the control API. */
export const DEFAULT_PORT = 9999;

/** The daemon of this machine. */
export const LOCAL = { kind: 'unix', path: '/run/wormhole.sock' } satisfies Endpoint;

/** Where wormholed answers those who only look: root, and the services of this machine that are given the socket. */
export const READ_ONLY = { kind: 'unix', path: '/run/wormholed-read/socket' } satisfies Endpoint;

/** A text that is no endpoint; the message quotes it and shows one. */
export class InvalidEndpoint extends Error {}

/**
 * Reads the argument of `-H`, such as `tcp://myserver:9999` or `unix:///run/wormhole.sock`. The port may be left out, and is
 * then {@link DEFAULT_PORT}.
 *
 * @throws InvalidEndpoint
 */
export function parseEndpoint(text: string): Endpoint {
  const path = /^unix:\/\/(\/.*[^/])$/.exec(text)?.[1];
  // The kernel takes 107 bytes and a NUL (unix(7)).
  if (path !== undefined && !path.includes('\0') && Buffer.byteLength(path) <= 107)
    return { kind: 'unix', path };
  const authority = /^tcp:\/\/(.+)$/.exec(text)?.[1];
  const found = authority === undefined ? undefined : parseAuthority(authority);
  if (found) return found;
  throw new InvalidEndpoint(
    `"${text}" is not an address such as tcp://myserver:${DEFAULT_PORT} or unix://${LOCAL.path}`,
  );
}

/**
 * Reads the name of a machine as people type it: `myserver`, `myserver:9999`, `10.0.0.2`, `[fd00::1]:9999`, `fd00::1`, or
 * all that {@link parseEndpoint} reads.
 *
 * @throws InvalidEndpoint
 */
export function parsePeerEndpoint(text: string): Endpoint {
  if (text.includes('://')) return parseEndpoint(text);
  const found = parseAuthority(text);
  if (found) return found;
  throw new InvalidEndpoint(
    `"${text}" is not a machine such as myserver, 10.0.0.2 or [fd00::1]:${DEFAULT_PORT}`,
  );
}

/** The endpoint as {@link parseEndpoint} reads it. */
export function endpointText(endpoint: Endpoint): string {
  return endpoint.kind === 'unix'
    ? `unix://${endpoint.path}`
    : `tcp://${hostPort(endpoint.host, endpoint.port)}`;
}

/** The name of a machine as this one remembers it: its host, with the port unless that is {@link DEFAULT_PORT}. */
export function peerName({ host, port }: TcpEndpoint): string {
  return hostPort(host.toLowerCase(), port === DEFAULT_PORT ? undefined : port);
}

function parseAuthority(text: string): Endpoint | undefined {
  const [host, portText] = isIPv6(text) ? [text] : (/^(.+?)(?::([0-9]{1,5}))?$/.exec(text)?.slice(1) ?? []);
  const port = portText === undefined ? DEFAULT_PORT : Number(portText);
  if (host === undefined || port < 1 || port > 65_535) return undefined;
  try {
    return { kind: 'tcp', host: parsePeer({ text: host, position: 0 }), port };
  } catch {
    return undefined;
  }
}
