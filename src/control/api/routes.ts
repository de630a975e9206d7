import { quoted } from '../../recipe/error.js';
import { version } from '../installation.js';
import type { TunnelSettings } from '../tunnel/settings.js';
import type { Caller } from './caller.js';
import type { CarryOut } from './carry-out.js';
import { Failure } from './failure.js';
import { checkCreateRequest, checkId, checkKey, checkPartRequest } from './schema.js';
import { tunnelRoutes } from './tunnel-routes.js';

/** What a request is answered with: no body for 204. `told` is the result in words, for the journal. */
export interface Answer {
  status: number;
  body?: unknown;
  told?: string;
}

/** A request that has been read and checked. */
export interface Task {
  /** For one that changes something: what, in words, for the journal. */
  change?: string;
  run(caller: Caller): Promise<Answer>;
}

/** What the API has at a path, for one method. */
export interface Route {
  /** Whether its requests have a body. */
  takesBody: boolean;
  /** Reads and checks a request. @throws Failure with code usage */
  read(body: unknown): Task;
}

/** The longest piece of a recipe that the journal is given, characters. */
const MAX_TOLD = 400;

/**
 * Finds what a request asks for.
 *
 * @throws Failure when the API has no such path, or not with that method
 */
export function findRoute(method: string, path: string, carryOut: CarryOut, settings: TunnelSettings): Route {
  const routes = fixedPaths(carryOut)[path] ?? namedPath(path, carryOut) ?? tunnelRoutes(path, settings);
  if (!routes)
    throw new Failure('not-found', `the API has no path ${quoted(path)}; its paths begin with /v1/`);
  const route = routes[method];
  if (route) return route;
  throw new Failure('usage', `${path} takes ${Object.keys(routes).join(' and ')}, not ${method}`, 405);
}

function fixedPaths(carryOut: CarryOut): Record<string, Record<string, Route> | undefined> {
  const get = (body: () => unknown): Route => ({
    takesBody: false,
    read: () => ({ run: async () => ({ status: 200, body: await body() }) }),
  });
  return {
    '/v1/ping': { GET: get(() => ({})) },
    '/v1/version': { GET: get(() => ({ version: version(), api: 1 })) },
    '/v1/links': { GET: get(() => carryOut.list()), POST: createRoute(carryOut) },
  };
}

/** A path that ends in the name of what it is about. */
function namedPath(path: string, carryOut: CarryOut): Record<string, Route> | undefined {
  const [, kind, name = ''] = /^\/v1\/(links|parts)\/([^/?#]+)$/.exec(path) ?? [];
  if (kind === 'links') return { DELETE: deleteRoute(name, carryOut) };
  if (kind === 'parts')
    return { PUT: makePartRoute(name, carryOut), DELETE: removePartRoute(name, carryOut) };
  return undefined;
}

function createRoute(carryOut: CarryOut): Route {
  return {
    takesBody: true,
    read(body) {
      const request = checkCreateRequest(body);
      if (request.options?.dryRun) {
        return { run: async (caller) => ({ status: 200, body: await carryOut.plan(request, caller) }) };
      }
      return {
        change: `create ${tell(request.recipe)}`,
        async run(caller) {
          const made = await carryOut.create(request, caller);
          return { status: 201, body: made, told: `made ${made.id} ${made.url}` };
        },
      };
    },
  };
}

function deleteRoute(id: string, carryOut: CarryOut): Route {
  return {
    takesBody: false,
    read() {
      const checked = checkId(decode(id));
      return {
        change: `delete ${checked}`,
        async run(caller) {
          const left = await carryOut.remove(checked, caller);
          return { status: 204, told: left ?? 'done' };
        },
      };
    },
  };
}

function makePartRoute(key: string, carryOut: CarryOut): Route {
  return {
    takesBody: true,
    read(body) {
      const checked = checkKey(key);
      const request = checkPartRequest(body);
      const { id, machine } = request.owner;
      return {
        change: `our part of link ${id} of ${machine}, ${tell(request.recipe)}`,
        async run(caller) {
          const made = await carryOut.makePart(checked, request, caller);
          return { status: 200, body: made, told: `it is ${made.id} ${made.url}` };
        },
      };
    },
  };
}

function removePartRoute(key: string, carryOut: CarryOut): Route {
  return {
    takesBody: false,
    read() {
      const checked = checkKey(key);
      return {
        change: `delete our part ${checked} of its link`,
        async run(caller) {
          await carryOut.removePart(checked, caller);
          return { status: 204, told: 'done' };
        },
      };
    },
  };
}

/** A recipe as one could type it, cut when it is very long, and without what docker-run is given: it may be secret. */
function tell(recipe: string[]): string {
  const words = recipe.map((word, at) => {
    if (recipe[at - 1] === 'docker-run') return '…';
    return /^[\w@%+=:,./[\]-]+$/.test(word) ? word : quoted(word);
  });
  const text = words.join(' ');
  return text.length > MAX_TOLD ? `${text.slice(0, MAX_TOLD)}…` : text;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
