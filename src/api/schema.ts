/*
 * The control API, version 1: HTTP/1.1 with JSON, over TLS 1.3 with the pre-shared key on TCP, and as it is on the unix
 * socket.
 *
 * doc/api.md lists the requests and their answers. The id of a part is 32 hexadecimal digits, which the machine that has the link
 * chooses. Only other machines have parts, not users; the answer to a repeated request may have another url. The requests below
 * /v1/tunnels are in tunnel-schema.ts, and the answers about links in listing-schema.ts.
 *
 * A request that fails is answered with `{"error": {"code", "message"}}` and the codes and statuses of failure.ts. While the
 * daemon works on a request, it says so with `102 Processing` (RFC 2518, 10.1) every few seconds; a client that receives
 * nothing for longer may assume that the daemon has gone. A create continues when its client goes away.
 */
import * as v from 'valibot';
import { isServiceName } from '../recipe/services.js';
import { isNetwork } from '../text/network.js';
import { quoted } from '../text/quote.js';
import { BALANCES, MAX_COUNT, MAX_IDLE_TIMEOUT, MAX_KEEPALIVE, MAX_WORKERS } from '../units/plan.js';
import { check, invalid, strictObject } from './check.js';
import { figure } from './figure.js';
import { address, tunnelId } from './tunnel-schema.js';

/** The longest body that a request may have, bytes. */
export const MAX_BODY = 65_536;

/** How often the daemon says that it is still at work, ms. */
export const PROGRESS_INTERVAL_MS = 3_000;

/** The longest timeout, seconds: a year, as in the recipe. */
const MAX_START = 365 * 24 * 3600;

/** The id of a link as a request may have it, recipe/names.ts; a child's can be longer than one that people choose. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,249}$/;
const name = v.pipe(v.string('must be a name'), v.regex(NAME, 'must be a name'));

const WORDS = 'must be an array of strings, the words of the recipe';
const words = v.array(v.string(WORDS), WORDS);

const SECONDS = `must be whole seconds from 1 to ${MAX_START}`;
const seconds = v.pipe(
  v.number(SECONDS),
  v.integer(SECONDS),
  v.minValue(1, SECONDS),
  v.maxValue(MAX_START, SECONDS),
);

const MODE = 'must be three octal digits, such as "660"';
const OWNER = 'must be USER, USER:GROUP or :GROUP';
const OWNER_FORM = /^(?=.)([A-Za-z0-9_][A-Za-z0-9_.-]*)?(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$/;
const GROUP = 'must be the name of a group';

const PORT = 'must be a port';
const COUNT = `must be a whole number from 1 to ${MAX_COUNT}`;
const count = v.pipe(v.number(COUNT), v.integer(COUNT), v.minValue(1, COUNT), v.maxValue(MAX_COUNT, COUNT));

const secondsUpTo = (most: number) => {
  const message = `must be whole seconds from 1 to ${most}`;
  return v.pipe(v.number(message), v.integer(message), v.minValue(1, message), v.maxValue(most, message));
};

/** The options of ../units/plan.ts. */
const options = {
  startTimeout: v.exactOptional(seconds),
  udpTimeout: v.exactOptional(seconds),
  socketMode: v.exactOptional(v.pipe(v.string(MODE), v.regex(/^0?[0-7]{3}$/, MODE))),
  socketOwner: v.exactOptional(v.pipe(v.string(OWNER), v.regex(OWNER_FORM, OWNER))),
  group: v.exactOptional(v.pipe(v.string(GROUP), v.regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/, GROUP))),
  pull: v.exactOptional(v.picklist(['never', 'missing', 'always'], 'must be one of never, missing, always')),
  balance: v.exactOptional(v.picklist(BALANCES, `must be one of ${BALANCES.join(', ')}`)),
  check: v.exactOptional(seconds),
};

const WORKERS = `must be "auto" or a number from 1 to ${MAX_WORKERS}`;

const NETWORKS = 'must be an array of networks, such as ["10.0.0.0/8"]';

/** Those that only the first link of a recipe has, and no part. */
const firstLinkOptions = {
  maxConnections: v.exactOptional(count),
  maxPerSource: v.exactOptional(count),
  rate: v.exactOptional(count),
  idleTimeout: v.exactOptional(secondsUpTo(MAX_IDLE_TIMEOUT)),
  keepAlive: v.exactOptional(secondsUpTo(MAX_KEEPALIVE)),
  workers: v.exactOptional(
    v.union(
      [v.literal('auto'), v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAX_WORKERS))],
      WORKERS,
    ),
  ),
  proxyProtocol: v.exactOptional(v.picklist(['v1', 'v2'], 'must be one of v1, v2')),
  acceptProxyProtocol: v.exactOptional(
    v.pipe(
      v.array(v.pipe(v.string(NETWORKS), v.check(isNetwork, NETWORKS)), NETWORKS),
      v.minLength(1, NETWORKS),
    ),
  ),
};

const flag = v.exactOptional(v.boolean('must be true or false'));

const createBody = strictObject({
  recipe: words,
  options: v.exactOptional(
    strictObject({ ...options, ...firstLinkOptions, dryRun: flag, replace: flag, ifAbsent: flag }),
  ),
});

/**
 * `wormhole create`: the words of the recipe, as they are typed, and what its options say; all of these have defaults. With
 * `dryRun`, the answer is only the files that would be written. With `replace`, a link of the same id is changed in place;
 * with `ifAbsent`, one that is just so is left as it is.
 */
export type CreateBody = v.InferOutput<typeof createBody>;

const deleteBody = strictObject({ volumes: flag, keep: flag });

/**
 * `wormhole delete`: whether the volumes go too that Wormhole has made for the containers of the link, or whether the containers
 * stay, stopped and under other names.
 */
export type DeleteBody = v.InferOutput<typeof deleteBody>;

/** What is left of a deleted link, or goes that somebody had added: a line each, for people. */
export const deletedLink = v.object({ left: v.array(v.string()) });

const SERVICE = 'must be the name of a service';

const partBody = strictObject({
  recipe: words,
  service: v.exactOptional(
    strictObject({
      name: v.pipe(v.string(SERVICE), v.check(isServiceName, SERVICE)),
      port: v.exactOptional(
        v.pipe(v.number(PORT), v.integer(PORT), v.minValue(1, PORT), v.maxValue(65_535, PORT)),
      ),
    }),
  ),
  options: v.exactOptional(strictObject(options)),
  tunnel: v.exactOptional(tunnelId),
  connection: v.exactOptional(
    strictObject({ local: address, remote: address, external: v.exactOptional(address) }),
  ),
  exactNames: v.exactOptional(v.boolean('must be true or false')),
  owner: strictObject({ id: name, machine: name }),
});

/**
 * The far part of a link, for the machine that asks. `recipe` is what follows `remote HOST`, in the form that `parseFarRecipe`
 * reads. With a `service`, it has the words of the head alone, and the rest is what this machine publishes under that name; `port` is
 * that of a published tail which says none. `owner` has the id of the link and the name of its machine, for people. With the id of a `tunnel` between the two machines,
 * the part listens at this one's end of it, and admits the other end. Without, `connection` has the addresses of the connection as
 * the owner sees it, and the `external` one that its own has behind a router: the part listens at the one and admits the other,
 * so both machines have to see the same. With `exactNames`, the recipe was typed some time ago: a container is meant by its exact
 * name or its whole id, and no longer by the beginning of an id.
 */
export type PartBody = v.InferOutput<typeof partBody>;

/** What can be done to a link beside creating and deleting it. */
export const LINK_COMMANDS = ['stop', 'start', 'sleep'] as const;
export type LinkCommand = (typeof LINK_COMMANDS)[number];

/**
 * A link as it was created: its id, and the url of its head; `also` has those of its further listeners, and `left` what is left
 * of the one that it replaces, a line each, for people.
 */
export const createdLink = v.object({
  id: v.string(),
  url: v.string(),
  also: v.exactOptional(v.array(v.string())),
  left: v.exactOptional(v.array(v.string())),
});
export type CreatedLink = v.InferOutput<typeof createdLink>;

/** The most of a text of another machine that goes into the journal, characters: more than a forwarder's own reason has. */
const LONGEST_REASON = 512;

/** A part as it was created, or is: `failing` says why it has closed its last clients, if it has. */
export const createdPart = v.object({
  ...createdLink.entries,
  failing: v.exactOptional(
    v.pipe(
      v.string(),
      v.transform((text) => text.slice(0, LONGEST_REASON)),
    ),
  ),
});
export type CreatedPart = v.InferOutput<typeof createdPart>;

/** The unit files that create would write. */
export const preview = v.object({ files: v.array(v.object({ name: v.string(), text: v.string() })) });
export type Preview = v.InferOutput<typeof preview>;

/** The version of the daemon's program, such as `0.1.0`, and the newest version of the API that it speaks. */
export const programVersion = v.object({ version: v.string(), api: figure });
export type ProgramVersion = v.InferOutput<typeof programVersion>;

/** The path of the request by which the two machines of a session prove who they are. */
export const SESSION_PATH = '/v1/session';

/** The id of the machine that has answered. */
export const pong = v.object({ machine: v.string(), time: v.exactOptional(figure) });

/** The body of every answer with a status of 400 or more; another version may have other codes. */
export const errorBody = v.object({ error: v.object({ code: v.string(), message: v.string() }) });
export type ErrorBody = v.InferOutput<typeof errorBody>;

/** Checks the body of `POST /v1/links`. @throws Failure with code usage, which names the field */
export function checkCreateBody(body: unknown): CreateBody {
  return check(createBody, body, 'the body');
}

/** Checks the body of `DELETE /v1/links/ID`. @throws Failure with code usage, which names the field */
export function checkDeleteBody(body: unknown): DeleteBody {
  const checked = check(deleteBody, body, 'the body');
  if (checked.volumes && checked.keep)
    throw invalid('"volumes" and "keep" contradict each other: a container that is kept has its volumes');
  return checked;
}

/** Checks the body of `PUT /v1/parts/ID`. @throws Failure with code usage, which names the field */
export function checkPartBody(body: unknown): PartBody {
  const checked = check(partBody, body, 'the body');
  if ((checked.tunnel === undefined) !== (checked.connection !== undefined))
    throw invalid('either "tunnel" or "connection" must be there, and not both');
  return checked;
}

/** Checks the id of a part. @throws Failure with code usage */
export function checkPartId(id: string): string {
  if (!/^[0-9a-f]{32}$/.test(id)) throw invalid(`${quoted(id)} is not 32 hexadecimal digits`);
  return id;
}

/** Checks the id of a link. @throws Failure with code usage */
export function checkLinkId(id: string): string {
  if (!NAME.test(id)) throw invalid(`${quoted(id)} cannot be the id of a link`);
  return id;
}
