import { addressText, SIZE_V6 } from '../address.js';
import type { Relay } from '../connection.js';
import type { ProxyInfo, Serve } from '../serve.js';
import { resetOnClose } from '../socket-options.js';
import { close, type Pinned, pinned } from '../syscalls.js';
import { destinationOf, type Endpoints, endpointOf } from './endpoints.js';
import { formatHeader, formatUnixHeader, type Version } from './format.js';
import { isInNetworks, type Network } from './networks.js';
import { type ReceivedHeader, receiveHeader } from './receive.js';
import { unixClientOf } from './unix-client.js';

/** What a link does with PROXY headers. */
export interface ProxyProtocol {
  /** The version of the header that the target gets; undefined: none. */
  readonly version: Version | undefined;
  /** From where clients have to begin with a header. Others must not: theirs is taken for bytes of the client. */
  readonly trusted: readonly Network[];
  /**
   * The memory to which accept4(2) writes the address of a client and its size, which must be 28 before each call. Unlike
   * getpeername(2), it knows the address of a client that has reset the connection since.
   */
  readonly room: Pinned;
  readonly roomSize: Pinned;
}

/** What a link does with PROXY headers; undefined if nothing. */
export function createProxyProtocol(
  version: Version | undefined,
  trusted: readonly Network[],
): ProxyProtocol | undefined {
  if (version === undefined && trusted.length === 0) return undefined;
  return { version, trusted, room: pinned(SIZE_V6), roomSize: pinned(4) };
}

/** Serves an accepted client, whose address accept4(2) has just written. */
export function serveWithHeaders(
  relay: Relay,
  proxy: ProxyProtocol,
  { fd, isUnix, serve }: { fd: number; isUnix: boolean; serve: Serve },
): void {
  const { version, trusted, room } = proxy;
  if (isUnix) {
    const proxyInfo = version && { header: formatUnixHeader(version, unixClientOf(fd)) };
    serve(relay, fd, { isUnix, proxyInfo });
    return;
  }
  const source = endpointOf(room.bytes);
  const destination = destinationOf(fd);
  if (source === undefined || destination === undefined) {
    // It has reset the connection already. The target must not take it for somebody else.
    resetOnClose(fd);
    close(fd);
    return;
  }
  const own: Endpoints = { source, destination };
  if (!isInNetworks(trusted, source)) {
    serve(relay, fd, { isUnix, proxyInfo: proxyInfoFor(version, own) });
    return;
  }
  const received = ({ endpoints, size }: ReceivedHeader): void => {
    const name = endpoints && `${addressText(endpoints.source)} behind ${addressText(source)}`;
    serve(relay, fd, {
      isUnix,
      proxyInfo: {
        ...proxyInfoFor(version, endpoints ?? own),
        ...(name !== undefined && { name }),
        headerBytes: size,
      },
    });
  };
  receiveHeader(relay, fd, { source, received });
}

function proxyInfoFor(version: Version | undefined, endpoints: Endpoints): ProxyInfo | undefined {
  return version && { header: formatHeader(version, endpoints) };
}
