/** What callers of a server may take that need not show who they are: time in ms, bytes of a head. */
export const HTTP_LIMITS = {
  headersTimeout: 5_000,
  requestTimeout: 5_000,
  connectionsCheckingInterval: 500,
  // Servers at other ports of this machine may set cookies, which browsers send to all of them.
  maxHeaderSize: 65_536,
};
