import { Failure } from '../api/failure.js';
import {
  checkCreateBody,
  checkDeleteBody,
  checkLinkId,
  checkPartBody,
  checkPartId,
  LINK_COMMANDS,
  type LinkCommand,
} from '../api/schema.js';
import { isRunArgument } from '../recipe/keywords.js';
import { ownIdentity } from '../state/identity.js';
import { version } from '../state/installation.js';
import { quoted } from '../text/quote.js';
import type { TunnelSettings } from '../tunnels/settings.js';
import type { Operations } from './operations.js';
import { getRoute, type Route, type Routes } from './route.js';
import { tunnelRoutes } from './tunnel-routes.js';

/** The longest piece of a recipe that is logged, characters. */
const MAX_LOGGED = 400;

/**
 * Finds the route of a request.
 *
 * @throws Failure when the API has no such path, or not with that method
 */
export function findRoute(
  { method = '', url: path = '' }: { method?: string | undefined; url?: string | undefined },
  operations: Operations,
  settings: TunnelSettings,
): Route {
  const routes = fixedPaths(operations)[path] ?? namedPath(path, operations) ?? tunnelRoutes(path, settings);
  if (!routes)
    throw new Failure('not-found', `the API has no path ${quoted(path)}; its paths begin with /v1/`);
  const route = routes[method];
  if (route) return route;
  throw new Failure('usage', `${path} takes ${Object.keys(routes).join(' and ')}, not ${method}`, 405);
}

function fixedPaths(operations: Operations): Record<string, Routes | undefined> {
  return {
    '/v1/ping': { GET: getRoute(() => ({ machine: ownIdentity().id, time: Date.now() })) },
    '/v1/version': { GET: getRoute(() => ({ version: version(), api: 1 })) },
    '/v1/traffic': { GET: getRoute(() => operations.report()) },
    '/v1/links': { GET: getRoute(() => operations.list()), POST: createRoute(operations) },
  };
}

/** A path that ends with an id, or with what to do to a link. */
function namedPath(path: string, operations: Operations): Routes | undefined {
  const [, link = '', word] = /^\/v1\/links\/([^/?#]+)\/([^/?#]+)$/.exec(path) ?? [];
  const change = LINK_COMMANDS.find((known) => known === word);
  if (change) return { POST: changeRoute(link, change, operations) };
  const [, of = '', tail = '', drain] =
    /^\/v1\/links\/([^/?#]+)\/tails\/([^/?#]+)\/(drain|undrain)$/.exec(path) ?? [];
  if (drain !== undefined)
    return { POST: drainRoute({ link: of, tail, drains: drain === 'drain' }, operations) };
  const [, kind, id = ''] = /^\/v1\/(links|parts)\/([^/?#]+)$/.exec(path) ?? [];
  if (kind === 'links') return { GET: showRoute(id, operations), DELETE: deleteRoute(id, operations) };
  if (kind === 'parts')
    return { PUT: createPartRoute(id, operations), DELETE: deletePartRoute(id, operations) };
  return undefined;
}

function createRoute(operations: Operations): Route {
  return {
    takesBody: true,
    read(json) {
      const body = checkCreateBody(json);
      if (body.options?.dryRun) {
        return { run: async (caller) => ({ status: 200, body: await operations.preview(body, caller) }) };
      }
      return {
        change: `create ${describeRecipe(body.recipe)}`,
        async run(caller) {
          const link = await operations.create(body, caller);
          return { status: 201, body: link, logged: `created ${link.id} ${link.url}`, link: link.id };
        },
      };
    },
  };
}

function showRoute(text: string, operations: Operations): Route {
  return {
    takesBody: false,
    read() {
      const id = checkLinkId(decode(text));
      return { run: async () => ({ status: 200, body: await operations.show(id) }) };
    },
  };
}

function deleteRoute(text: string, operations: Operations): Route {
  return {
    takesBody: 'optional',
    read(json) {
      const id = checkLinkId(decode(text));
      const body = json === undefined ? undefined : checkDeleteBody(json);
      return {
        change: `delete ${id}${body?.volumes ? ' with its volumes' : ''}${body?.keep ? ' without its containers' : ''}`,
        link: id,
        async run(caller) {
          const left = await operations.delete(id, body ?? {}, caller);
          const answer = body === undefined ? { status: 204 } : { status: 200, body: { left } };
          return { ...answer, logged: describeLeft(left) };
        },
      };
    },
  };
}

function changeRoute(text: string, change: LinkCommand, operations: Operations): Route {
  return {
    takesBody: false,
    read() {
      const id = checkLinkId(decode(text));
      return {
        change: `${change} ${id}`,
        link: id,
        async run(caller) {
          await operations.change(id, change, caller);
          return { status: 204, logged: 'done' };
        },
      };
    },
  };
}

function drainRoute(
  { link, tail, drains }: { link: string; tail: string; drains: boolean },
  operations: Operations,
): Route {
  return {
    takesBody: false,
    read() {
      const [id, name] = [checkLinkId(decode(link)), checkLinkId(decode(tail))];
      return {
        change: `${drains ? 'drain' : 'undrain'} ${id} ${name}`,
        link: id,
        async run(caller) {
          await operations.drain(id, { tail: name, drains }, caller);
          return { status: 204, logged: 'done' };
        },
      };
    },
  };
}

function createPartRoute(text: string, operations: Operations): Route {
  return {
    takesBody: true,
    read(json) {
      const partId = checkPartId(text);
      const body = checkPartBody(json);
      const { id, machine } = body.owner;
      const what = body.service ? `service ${body.service.name}` : describeRecipe(body.recipe);
      return {
        change: `create our part of link ${id} of ${machine}, ${what}`,
        async run(caller) {
          const link = await operations.createPart(partId, body, caller);
          return { status: 200, body: link, logged: `it is ${link.id} ${link.url}`, link: link.id };
        },
      };
    },
  };
}

function deletePartRoute(text: string, operations: Operations): Route {
  return {
    takesBody: false,
    read() {
      const partId = checkPartId(text);
      return {
        change: `delete our part ${partId} of its link`,
        async run(caller) {
          const left = await operations.deletePart(partId, caller);
          return { status: 204, logged: describeLeft(left) };
        },
      };
    },
  };
}

/** A recipe as one could type it, cut when it is very long, and without the arguments of docker-run: they may be secret. */
function describeRecipe(recipe: string[]): string {
  const words = recipe.flatMap((word, at) => {
    if (isRunArgument(recipe, at)) return recipe[at - 1] === 'docker-run' ? '…' : [];
    return /^[\w@%+=:,./[\]-]+$/.test(word) ? word : quoted(word);
  });
  const text = words.join(' ');
  return text.length > MAX_LOGGED ? `${text.slice(0, MAX_LOGGED)}…` : text;
}

function describeLeft(left: string[]): string {
  return left.length === 0 ? 'done' : left.join('; ');
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
