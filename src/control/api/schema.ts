/*
 * The control API, version 1: HTTP/1.1 with JSON, over TLS 1.3 with the pre-shared key on TCP, as it is on the unix socket.
 *
 *     GET    /v1/ping        {}
 *     GET    /v1/version     Version
 *     GET    /v1/links       Listing (../list.ts)
 *     POST   /v1/links       CreateRequest -> 201 Created (../create.ts), or 200 Plan with dryRun
 *     DELETE /v1/links/ID    204, no body
 *     PUT    /v1/parts/KEY   PartRequest -> 200 Created: this machine's part of a link of the caller's; the same when it is
 *                            asked for again, though its url may be another one then
 *     DELETE /v1/parts/KEY   204, no body
 *
 * KEY is 32 hexadecimal digits, which the owner of the link has made up. Only other machines have parts, not users. What is
 * below /v1/tunnels is in tunnel-schema.ts.
 *
 * Whatever fails answers `{"error": {"code", "message"}}` with the codes and statuses of failure.ts. While a request is
 * being worked on, the daemon says so with `102 Processing` (RFC 2518, 10.1) every few seconds; a client that hears
 * nothing for longer may take the daemon to be gone. A create goes on when its client goes away.
 */
import { quoted } from '../../recipe/error.js';
import type { CreateOptions } from '../../units/plan.js';
import type { UnitFile } from '../../units/render.js';
import type { FailureCode } from './failure.js';
import { fields, wrong } from './fields.js';
import { checkTunnelId } from './tunnel-schema.js';

/** The longest body that a request may have, bytes. */
export const MAX_BODY = 65_536;

/** How often the daemon says that it is still at it, ms. */
export const SIGN_OF_LIFE_MS = 3_000;

/** `wormhole create`: the words of the recipe, as they are typed, and what its options say; all of these have defaults. */
export interface CreateRequest {
  recipe: string[];
  options?: AskedOptions;
}

/**
 * The far part of a link, which is made for the machine that asks. `recipe` is what follows `remote HOST`, in the form that
 * `parseFarRecipe` reads; `owner` the id of the link and the name of its machine, for people. With the id of a `tunnel`
 * between the two machines, the part listens at this one's end of it, and lets in the other end.
 */
export interface PartRequest {
  recipe: string[];
  options?: Partial<CreateOptions>;
  tunnel?: string;
  owner: { id: string; machine: string };
}

/** The options of ../../units/plan.ts, and `dryRun`: only tell which files would be written, default false. */
export interface AskedOptions extends Partial<CreateOptions> {
  dryRun?: boolean;
}

/** What an id may consist of, recipe/names.ts; a child's can be longer than one that people give. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,249}$/;

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
  const words = checkWords(recipe);
  if (options === undefined) return { recipe: words };
  const asked = fields(options, '"options"', ['dryRun', 'startTimeout', 'pull']);
  const { dryRun } = asked;
  if (dryRun !== undefined && typeof dryRun !== 'boolean')
    throw wrong('"options.dryRun" must be true or false');
  return { recipe: words, options: checkOptions(asked) };
}

/** Checks the body of `PUT /v1/parts/KEY`. @throws Failure with code usage, which names the field */
export function checkPartRequest(body: unknown): PartRequest {
  const { recipe, options, owner, tunnel } = fields(body, 'the body', [
    'recipe',
    'options',
    'owner',
    'tunnel',
  ]);
  const words = checkWords(recipe);
  const { id, machine } = fields(owner, '"owner"', ['id', 'machine']);
  for (const [name, value] of [
    ['id', id],
    ['machine', machine],
  ]) {
    if (typeof value !== 'string' || !NAME.test(value)) throw wrong(`"owner.${name}" must be a name`);
  }
  const part: PartRequest = { recipe: words, owner: { id: id as string, machine: machine as string } };
  if (tunnel !== undefined) part.tunnel = checkTunnelId(tunnel);
  if (options === undefined) return part;
  return { ...part, options: checkOptions(fields(options, '"options"', ['startTimeout', 'pull'])) };
}

/** Checks the KEY of `/v1/parts/KEY`. @throws Failure with code usage */
export function checkKey(key: string): string {
  if (!/^[0-9a-f]{32}$/.test(key)) throw wrong(`${quoted(key)} is not 32 hexadecimal digits`);
  return key;
}

function checkWords(recipe: unknown): string[] {
  if (!Array.isArray(recipe) || !recipe.every((word) => typeof word === 'string'))
    throw wrong('"recipe" must be an array of strings, the words of the recipe');
  return recipe;
}

function checkOptions(options: Record<string, unknown>): AskedOptions {
  const { startTimeout, pull } = options;
  const seconds = Number.isInteger(startTimeout) ? (startTimeout as number) : 0;
  if (startTimeout !== undefined && (seconds < 1 || seconds > MAX_START))
    throw wrong(`"options.startTimeout" must be whole seconds from 1 to ${MAX_START}`);
  if (pull !== undefined && !PULL.includes(pull))
    throw wrong(`"options.pull" must be one of ${PULL.join(', ')}`);
  return options;
}

/** Checks the ID of `DELETE /v1/links/ID`. @throws Failure with code usage */
export function checkId(id: string): string {
  if (!NAME.test(id)) throw wrong(`${quoted(id)} cannot be the id of a link`);
  return id;
}
