import { Failure } from '../api/failure.js';
import { checkLinkId } from '../api/schema.js';
import { version } from '../state/installation.js';
import { quoted } from '../text/quote.js';
import { describeTunnels } from '../tunnels/list.js';
import type { Operations } from './operations.js';
import { getRoute, type Route } from './route.js';

/**
 * Finds the route of a request on a socket whose callers may only look: what there is changes nothing, not even by way of repair.
 * Routes are added here one by one, so that one that is added to the whole API is not open to those who may only look.
 *
 * @throws Failure when there is no such path, or it is not asked for with GET
 */
export function findReadRoute(
  { method = '', url: path = '' }: { method?: string | undefined; url?: string | undefined },
  operations: Operations,
): Route {
  const route = routeOf(path, operations);
  if (!route)
    throw new Failure('not-found', `this socket is for looking only, and has no path ${quoted(path)}`);
  if (method !== 'GET')
    throw new Failure('usage', `this socket is for looking only: ${path} takes GET, not ${method}`, 405);
  return route;
}

function routeOf(path: string, operations: Operations): Route | undefined {
  switch (path) {
    case '/v1/version':
      return getRoute(() => ({ version: version(), api: 1 }));
    case '/v1/links':
      return getRoute(() => operations.list());
    case '/v1/traffic':
      return getRoute(() => operations.report());
    case '/v1/tunnels':
      return getRoute(() => describeTunnels());
  }
  const id = /^\/v1\/links\/([^/?#]+)$/.exec(path)?.[1];
  return id === undefined ? undefined : getRoute(() => operations.show(checkLinkId(id)));
}
