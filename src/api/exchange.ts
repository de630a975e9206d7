import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import * as v from 'valibot';
import { printable } from '../text/printable.js';
import { Unreachable } from './connect.js';
import { Failure, isFailureCode } from './failure.js';
import { errorBody, PROGRESS_INTERVAL_MS } from './schema.js';

/** A request of the API: an HTTP method, a path, and the body, if any. */
export interface ApiRequest {
  method: string;
  path: string;
  body?: unknown;
  /** How long all of the answer may take, however often the daemon says that it is at work, ms. Default 30 s. */
  timeout?: number;
  /** The longest body of an answer that is read, bytes. Default 64 KiB. */
  longest?: number;
  /** Whether texts in the answer may have several lines. */
  multiline?: boolean;
}

/** Sends one request and returns the body of the answer, from which all control characters are gone. @throws Failure, Unreachable */
export type SendRequest = (request: ApiRequest) => Promise<unknown>;

/** An open connection to a daemon, for one request after another. */
export interface Connection {
  send: SendRequest;
  close(): void;
}

const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_LONGEST = 65_536;

/** The longest headers of an answer, bytes, as in the daemon. */
const MAX_HEADERS = 8_192;

/** A daemon that sends nothing for this long while it works counts as gone, ms. */
const SILENCE_MS = 4 * PROGRESS_INTERVAL_MS;

/** How often a daemon may say that it is at work, beside once a second. */
const MAX_PROGRESS = 10;

/** The longest message of an error that is reported, characters. */
const MAX_MESSAGE = 2_000;

/** Makes requests possible over a socket that is connected to a daemon. @param where the machine, for messages */
export function openConnection(socket: Socket, where: string): Connection {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  agent.createConnection = () => socket;
  return {
    send: (request) => exchange(request, { where, socket, agent }),
    close() {
      agent.destroy();
      socket.destroy();
    },
  };
}

interface Wire {
  where: string;
  socket: Socket;
  agent: Agent;
}

async function exchange(request: ApiRequest, wire: Wire): Promise<unknown> {
  const { status, body } = await send(request, wire);
  if (status === 204) return undefined;
  const answer = parseJson(body, request.multiline ? '\n\t' : '');
  if (status < 300 && answer !== undefined) return answer;
  const error = v.safeParse(errorBody, answer);
  if (!error.success)
    throw new Failure('failed', `${wire.where} gives an answer (${status}) that is not from wormholed`);
  const { code, message } = error.output.error;
  const short = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message;
  throw new Failure(isFailureCode(code) ? code : 'failed', short);
}

function send(
  { method, path, body, timeout = DEFAULT_TIMEOUT_MS, longest = DEFAULT_LONGEST }: ApiRequest,
  { where, socket, agent }: Wire,
): Promise<{ status: number; body: string }> {
  const text = body === undefined ? '' : JSON.stringify(body);
  const headers =
    text === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const request = httpRequest({
      ...{ agent, method, path, maxHeaderSize: MAX_HEADERS },
      headers: { host: 'wormholed', ...headers },
    });
    const lost = (reason: string) => reject(new Unreachable(`${where} ${reason}`, true));
    const giveUp = (reason: string) => {
      lost(reason);
      socket.destroy();
    };
    const silence = setTimeout(
      () => giveUp(`has said nothing for ${SILENCE_MS / 1000} s: is it still there?`),
      SILENCE_MS,
    );
    const deadline = setTimeout(
      () => giveUp(`has not finished after ${timeout / 1000} s, although it says that it is at work`),
      timeout,
    );
    let progress = 0;
    request.on('information', () => {
      progress++;
      silence.refresh();
      if (progress > MAX_PROGRESS + (performance.now() - began) / 1000)
        giveUp('sends only progress reports: this is not wormholed');
    });
    request.on('error', ({ message }) => lost(`has gone away before it answered (${message})`));
    let hasResponse = false;
    request.on('response', (response: IncomingMessage) => {
      hasResponse = true;
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > longest)
          return giveUp(`gives an answer of more than ${longest} bytes: this is not wormholed`);
        chunks.push(chunk);
        silence.refresh();
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
      response.on('error', ({ message }) => lost(`has broken off its answer (${message})`));
    });
    request.on('close', () => {
      clearTimeout(silence);
      clearTimeout(deadline);
      // There is neither an answer nor an error if the daemon changes to another protocol.
      if (!hasResponse) lost('has gone away before it answered');
    });
    request.end(text);
  });
}

/** What a JSON text says, without control characters; undefined when it is none. */
function parseJson(text: string, kept: string): unknown {
  try {
    return JSON.parse(text, (_key, value) => (typeof value === 'string' ? printable(value, kept) : value));
  } catch {
    return undefined;
  }
}
