/** What callers of a server may take that need not show who they are: time in ms, bytes of a head. */
export const HTTP_LIMITS = {
  headersTimeout: 5_000,
  requestTimeout: 5_000,
  connectionsCheckingInterval: 500,
  maxHeaderSize: 8_192,
};
