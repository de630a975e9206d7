import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import * as v from 'valibot';
import { unmapIPv4 } from '../../text/ip-address.js';
import { printable } from '../../text/printable.js';
import type { EtcdConfig } from './config.js';
import { readToken, writeToken } from './token.js';

/** How long a node may take to answer, ms. */
const TIMEOUT_MS = 3_000;

/** The longest answer that is read, bytes: some 10,000 machines. */
const LONGEST = 4 << 20;

/** etcd cannot be asked: no node answers, or it refuses. The message has one line. */
export class EtcdFault extends Error {}

/** The address of this machine that faced etcd, with an answer. */
interface Answer {
  body: unknown;
  local: string;
}

/** Asks etcd by the JSON gateway of its v3 API: `call('/v3/kv/range', {...})`. */
export interface EtcdClient {
  /** @throws EtcdFault */
  call<T extends v.GenericSchema>(path: string, body: object, schema: T): Promise<v.InferOutput<T>>;
  /** The address of this machine that has faced etcd last. */
  localAddress(): string | undefined;
}

/** etcd has answered that it does not do it. */
class Refused extends EtcdFault {}

/** An endpoint does not answer; the next one may. The message has one line. */
export class NoAnswer extends Error {}

/** How much of a reason that etcd gives is told, characters. */
const LONGEST_REASON = 500;

/**
 * Prepares requests to etcd. The endpoints are asked one after the other, the one that has answered last first. With a user, the token that
 * was given last is used, and another one is fetched when there is none, or etcd refuses the request: it forgets tokens.
 *
 * @param timeout how long a node may take to answer, ms, before the next one is asked
 */
export function createEtcdClient(config: EtcdConfig, timeout = TIMEOUT_MS): EtcdClient {
  let endpoints = config.endpoints;
  let token = config.login && readToken(config);
  let local: string | undefined;
  const ask = async (path: string, body: object): Promise<unknown> => {
    const failures: string[] = [];
    for (const endpoint of endpoints) {
      try {
        const answer = await post(endpoint, {
          path,
          body,
          config,
          timeout,
          ...(token !== undefined && { token }),
        });
        endpoints = [endpoint, ...endpoints.filter((other) => other !== endpoint)];
        local = answer.local;
        return answer.body;
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error;
        failures.push(`${endpoint.host}: ${error.message}`);
      }
    }
    throw new EtcdFault(`etcd does not answer (${failures.join('; ')})`);
  };
  const authenticate = async (login: NonNullable<EtcdConfig['login']>): Promise<void> => {
    token = undefined;
    const given = readBody(tokenBody, await ask('/v3/auth/authenticate', login)).token;
    // Another one would be kept, and fail each request of the next processes before etcd could refuse it.
    if (!TOKEN.test(given)) throw new EtcdFault('etcd returned an invalid token');
    token = given;
    writeToken(config, token);
  };
  // A token that was kept may be one that etcd has forgotten.
  let mayBeOld = token !== undefined;
  return {
    async call(path, body, schema) {
      const { login } = config;
      if (login && token === undefined) await authenticate(login);
      try {
        return readBody(schema, await ask(path, body));
      } catch (error) {
        if (!(error instanceof Refused) || !login || !mayBeOld) throw error;
        mayBeOld = false;
        await authenticate(login);
        return readBody(schema, await ask(path, body));
      }
    },
    localAddress: () => local,
  };
}

const tokenBody = v.object({ token: v.string() });

/** What a header can hold, and a server takes: the longest tokens of etcd, which are signed, have some 1,000 characters. */
const TOKEN = /^[\x21-\x7e]{1,8192}$/;

/** Checks the body of an answer. @throws EtcdFault */
export function readBody<T extends v.GenericSchema>(schema: T, body: unknown): v.InferOutput<T> {
  const result = v.safeParse(schema, body);
  if (result.success) return result.output;
  throw new EtcdFault(
    `etcd has answered something else than expected: ${printable(result.issues[0].message.slice(0, LONGEST_REASON))}`,
  );
}

interface Post {
  path: string;
  body: object;
  config: EtcdConfig;
  timeout: number;
  token?: string;
}

/** @throws NoAnswer, EtcdFault */
function post(endpoint: URL, { path, body, config, timeout, token }: Post): Promise<Answer> {
  const { ca, certificate, key } = config;
  const request = endpoint.protocol === 'https:' ? requestHttps : requestHttp;
  const headers = {
    'Content-Type': 'application/json',
    ...(token !== undefined && { Authorization: token }),
  };
  return new Promise((resolve, reject) => {
    let hasResponse = false;
    const sent = request(
      new URL(path, endpoint),
      {
        ...{ method: 'POST', headers, agent: false },
        ...(ca && { ca }),
        ...(certificate && { cert: certificate }),
        ...(key && { key }),
      },
      (response) => {
        hasResponse = true;
        const local = unmapIPv4(response.socket.localAddress ?? '');
        const chunks: Buffer[] = [];
        let length = 0;
        response.on('data', (chunk: Buffer) => {
          length += chunk.length;
          chunks.push(chunk);
          if (length > LONGEST) sent.destroy(new NoAnswer(`an answer of more than ${LONGEST} bytes`));
        });
        response.on('end', () => {
          try {
            const text = Buffer.concat(chunks).toString();
            resolve({ body: readResponse(response.statusCode ?? 500, text), local });
          } catch (error) {
            reject(error);
          }
        });
        response.on('error', (error) => reject(new NoAnswer(error.message)));
      },
    );
    const timer = setTimeout(
      () => sent.destroy(new NoAnswer(`no answer within ${timeout / 1000} s`)),
      timeout,
    );
    sent.on('close', () => {
      clearTimeout(timer);
      // There is neither an answer nor an error if the node changes to another protocol.
      if (!hasResponse) reject(new NoAnswer('it has closed the connection'));
    });
    sent.on('error', (error) =>
      reject(error instanceof NoAnswer ? error : new NoAnswer(printable(error.message))),
    );
    sent.end(JSON.stringify(body));
  });
}

/**
 * The body of a node's response.
 *
 * @throws NoAnswer when another node may do better: one without a leader says so with 503
 * @throws EtcdFault when etcd refuses
 */
export function readResponse(status: number, text: string): unknown {
  const body = parse(text);
  if (status === 200 && body !== undefined) return body;
  const reason = reasonOf(body);
  if (status >= 500 || body === undefined) throw new NoAnswer(`${status} ${reason}`.trim());
  throw new Refused(`etcd refuses: ${reason || `status ${status}`}`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What an answer says that is an error: `{"error": "etcdserver: permission denied", …}`. */
function reasonOf(body: unknown): string {
  const result = v.safeParse(v.object({ error: v.string() }), body);
  return result.success ? printable(result.output.error.slice(0, LONGEST_REASON)) : '';
}
