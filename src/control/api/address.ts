import { isIPv6 } from 'node:net';
import { parsePeer } from '../../recipe/names.js';

/** Where a `wormholed` is to be reached: over TCP by a host name or an IP address, or on a unix socket. */
export type Address = { kind: 'tcp'; host: string; port: number } | { kind: 'unix'; path: string };

/** The TCP port of the control API. */
export const DEFAULT_PORT = 9999;

/** The daemon of this machine. */
export const LOCAL = { kind: 'unix', path: '/run/wormhole.sock' } satisfies Address;

/** A text that is no address; the message quotes it and shows one. */
export class NoAddress extends Error {}

/**
 * Reads an address such as `tcp://myserver:9999` or `unix:///run/wormhole.sock`, as `-H` has it. The port may be left
 * out, and is then {@link DEFAULT_PORT}.
 *
 * @throws NoAddress
 */
export function parseAddress(text: string): Address {
  const path = /^unix:\/\/(\/.*[^/])$/.exec(text)?.[1];
  // The kernel takes 107 bytes and a NUL (unix(7)).
  if (path !== undefined && !path.includes('\0') && Buffer.byteLength(path) <= 107)
    return { kind: 'unix', path };
  const host = /^tcp:\/\/(.+)$/.exec(text)?.[1];
  const found = host === undefined ? undefined : hostAndPort(host);
  if (!found) {
    throw new NoAddress(
      `"${text}" is not an address such as tcp://myserver:${DEFAULT_PORT} or unix://${LOCAL.path}`,
    );
  }
  return found;
}

/**
 * Reads the name of a machine as people type it: `myserver`, `myserver:9999`, `10.0.0.2`, `[fd00::1]:9999`, `fd00::1`,
 * or all that {@link parseAddress} reads.
 *
 * @throws NoAddress
 */
export function parseMachine(text: string): Address {
  if (text.includes('://')) return parseAddress(text);
  const found = hostAndPort(text);
  if (!found)
    throw new NoAddress(`"${text}" is not a machine such as myserver, 10.0.0.2 or [fd00::1]:${DEFAULT_PORT}`);
  return found;
}

/** The address as {@link parseAddress} reads it. */
export function addressText(address: Address): string {
  if (address.kind === 'unix') return `unix://${address.path}`;
  return `tcp://${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

function hostAndPort(text: string): Address | undefined {
  const bare = isIPv6(text) ? [text, undefined] : /^(.+?)(?::([0-9]{1,5}))?$/.exec(text)?.slice(1);
  const port = bare?.[1] === undefined ? DEFAULT_PORT : Number(bare[1]);
  if (bare?.[0] === undefined || port < 1 || port > 65_535) return undefined;
  try {
    return { kind: 'tcp', host: parsePeer({ text: bare[0], position: 0 }), port };
  } catch {
    return undefined;
  }
}
