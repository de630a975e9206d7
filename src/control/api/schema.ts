/*
 * The control API, version 1: HTTP/1.1 with JSON, over TLS 1.3 with the pre-shared key on TCP, as it is on the unix socket.
 *
 *     GET    /v1/ping        {}
 *     GET    /v1/version     Version
 *     GET    /v1/links       Listing (../list.ts)
 *     POST   /v1/links       CreateRequest -> 201 Created (../create.ts), or 200 Plan with dryRun
 *     DELETE /v1/links/ID    204, no body
 *
 * Whatever fails answers `{"error": {"code", "message"}}` with the codes and statuses of failure.ts. While a request is
 * being worked on, the daemon says so with `102 Processing` (RFC 2518, 10.1) every few seconds; a client that hears
 * nothing for longer may take the daemon to be gone. A create goes on when its client goes away.
 */
import { quoted } from '../../recipe/error.js';
import type { CreateOptions } from '../../units/plan.js';
import type { UnitFile } from '../../units/render.js';
import { Failure, type FailureCode } from './failure.js';

/** The longest body that a request may have, bytes. */
export const MAX_BODY = 65_536;

/** How often the daemon says that it is still at it, ms. */
export const SIGN_OF_LIFE_MS = 3_000;

/** `wormhole create`: the words of the recipe, as they are typed, and what its options say; all of these have defaults. */
export interface CreateRequest {
  recipe: string[];
  options?: AskedOptions;
}

/** The options of ../../units/plan.ts, and `dryRun`: only tell which files would be written, default false. */
export interface AskedOptions extends Partial<CreateOptions> {
  dryRun?: boolean;
}

/** What `pull` may be. */
const PULL: unknown[] = ['never', 'missing', 'always'] satisfies CreateOptions['pull'][];

/** The longest that a start may be allowed, seconds: a year, as in the recipe. */
const MAX_START = 365 * 24 * 3600;

/** What a dry run answers: the unit files that create would write. */
export interface Plan {
  files: UnitFile[];
}

/** The daemon's program version, such as `0.1.0`, and the newest version of the API that it speaks. */
export interface Version {
  version: string;
  api: 1;
}

/** The body of every answer with a status of 400 or more. */
export interface ErrorBody {
  error: { code: FailureCode; message: string };
}

/** Checks the body of `POST /v1/links`. @throws Failure with code usage, which names the field */
export function checkCreateRequest(body: unknown): CreateRequest {
  const { recipe, options } = fields(body, 'the body', ['recipe', 'options']);
  if (!Array.isArray(recipe) || !recipe.every((word) => typeof word === 'string'))
    throw wrong('"recipe" must be an array of strings, the words of the recipe');
  if (options === undefined) return { recipe };
  return { recipe, options: checkOptions(options) };
}

function checkOptions(value: unknown): AskedOptions {
  const options = fields(value, '"options"', ['dryRun', 'startTimeout', 'pull']);
  const { dryRun, startTimeout, pull } = options;
  if (dryRun !== undefined && typeof dryRun !== 'boolean')
    throw wrong('"options.dryRun" must be true or false');
  const seconds = Number.isInteger(startTimeout) ? (startTimeout as number) : 0;
  if (startTimeout !== undefined && (seconds < 1 || seconds > MAX_START))
    throw wrong(`"options.startTimeout" must be whole seconds from 1 to ${MAX_START}`);
  if (pull !== undefined && !PULL.includes(pull))
    throw wrong(`"options.pull" must be one of ${PULL.join(', ')}`);
  return options;
}

/** Checks the ID of `DELETE /v1/links/ID`. @throws Failure with code usage */
export function checkId(id: string): string {
  // What an id may consist of, recipe/names.ts; a child's can be longer than one that people give.
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,249}$/.test(id)) throw wrong(`${quoted(id)} cannot be the id of a link`);
  return id;
}

function fields(value: unknown, what: string, known: string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong(`${what} must be a JSON object`);
  const unknown = Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined) throw wrong(`${what} has a field ${quoted(unknown)}, which means nothing here`);
  return value as Record<string, unknown>;
}

function wrong(message: string): Failure {
  return new Failure('usage', message);
}
