import type Docker from 'dockerode';
import { ENGINE_SOCKETS, engineKind } from './which-engine.js';

/** The engine is not there, or does not answer. */
export class EngineDown extends Error {}

/** There is no container of that name, or none that is meant by what was typed. */
export class NoSuchContainer extends Error {
  constructor(reference: string, message?: string) {
    super(message ?? `no container "${reference}": see docker ps -a for the names there are`);
  }
}

/** How long an engine that accepts a connection may take to answer: it may itself be starting its containers. */
const TIMEOUT_MS = 30_000;

/** What a failed request looks like: of node:http when nobody answered, of the engine when it did. */
interface EngineReply extends Error {
  code?: string;
  statusCode?: number;
  json?: { message?: string };
}

let connection: Promise<Docker> | undefined;
let patientConnection: Promise<Docker> | undefined;

/** Loading dockerode takes longer than most commands that turn out not to need the engine. */
async function open(options: Docker.DockerOptions = {}): Promise<Docker> {
  const { default: Docker } = await import('dockerode');
  return new Docker({ ...(isPodman() && { socketPath: ENGINE_SOCKETS.podman }), ...options });
}

/** Whether requests go to Podman. DOCKER_HOST is asked first, as by all clients of Docker. */
function isPodman(): boolean {
  return process.env.DOCKER_HOST === undefined && engineKind() === 'podman';
}

/**
 * The connection to the engine for questions, made when it is first used. It is given up when silent for 30 s.
 *
 * The engine is the one that DOCKER_HOST names, by default the one of {@link engineKind}.
 */
export function engine(): Promise<Docker> {
  connection ??= open({ timeout: TIMEOUT_MS });
  return connection;
}

/**
 * The connection to the engine for what may well be silent for long, made when it is first used: pulls, events,
 * actions. It has no limit, so each request that needs one brings an AbortSignal.
 */
export function engineWithoutTimeout(): Promise<Docker> {
  patientConnection ??= open();
  return patientConnection;
}

/**
 * The status of HTTP that the engine answered a failed request with, or undefined when it did not answer. Podman 4 answers 500 for
 * a container that is removed while it looks at it; that is 404 here.
 */
export function statusOf(error: unknown): number | undefined {
  const { statusCode, json } = error as EngineReply;
  return statusCode === 500 && /: no such container$/.test(json?.message ?? '') ? 404 : statusCode;
}

/**
 * Explains a failed request in one line: EngineDown when the engine did not answer, and otherwise what it said.
 *
 * @param what was not possible, such as `container "db" does not start`
 */
export function explain(error: unknown, what: string): Error {
  const reply = error as EngineReply;
  const said = whatIsSaid(reply);
  const name = isPodman() ? 'Podman' : 'the Docker engine';
  const subject = what.replace('the Docker engine', name);
  if (reply.statusCode !== undefined) return new Error(`${subject}: ${said}`);
  if (reply.name === 'AbortError') return new EngineDown(`${subject}: ${name} has not answered in time`);
  return new EngineDown(`${name} is unreachable (${said})`);
}

/**
 * Explains a failed request about a container in one line.
 *
 * @returns NoSuchContainer when there is none by that name, or more than one; otherwise as `explain` does
 */
export function explainContainer(error: unknown, reference: string): Error {
  if (isAmbiguous(error)) {
    return new NoSuchContainer(
      reference,
      `container "${reference}" is ambiguous: more than one id begins so; write more of it`,
    );
  }
  if (statusOf(error) === 404) return new NoSuchContainer(reference);
  return explain(error, `the Docker engine says of container "${reference}"`);
}

/** Whether a failed request named something by the beginning of more than one id: 500 or 400, by the engine's version. */
export function isAmbiguous(error: unknown): boolean {
  return /multiple IDs|ambiguous/i.test((error as EngineReply).json?.message ?? '');
}

// Dockerode has the engine's message as it is only where the answer is no stream.
function whatIsSaid({ json, message }: EngineReply): string {
  const text = json?.message ?? message.replace(/^\(HTTP code \d+\) .*? - /, '');
  return text.trim().replaceAll(/\s+/g, ' ');
}
