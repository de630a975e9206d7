import type Docker from 'dockerode';

/** A container as far as links need to know it. `pid` is the process whose network namespace is the container's. */
export interface Container {
  id: string;
  name: string;
  running: boolean;
  pid: number;
}

/** The engine is not there, or does not answer. */
export class EngineDown extends Error {}

/** No container, or more than one, goes by that name or beginning of an id. */
export class NoSuchContainer extends Error {}

/** How long an engine that accepts a connection may take to answer: it may itself be starting its containers. */
const TIMEOUT_MS = 30_000;

/**
 * Asks the engine for a container by its name, its id or the beginning of its id.
 *
 * The engine is the one that DOCKER_HOST names, by default the one on /var/run/docker.sock.
 *
 * @throws EngineDown, NoSuchContainer, or the engine's own error
 */
export async function findContainer(reference: string): Promise<Container> {
  try {
    const { Id, Name, State } = await (await engine()).getContainer(reference).inspect();
    return { id: Id, name: Name.replace(/^\//, ''), running: State.Running && State.Pid > 0, pid: State.Pid };
  } catch (error) {
    throw explainContainer(error, reference);
  }
}

/** What a failed request looks like: of node:http when nobody answered, of the engine when it did. */
interface EngineReply extends Error {
  code?: string;
  statusCode?: number;
  json?: { message?: string };
}

let connection: Promise<Docker> | undefined;
let patientConnection: Promise<Docker> | undefined;

/** Loading dockerode takes longer than most commands that turn out not to need the engine. */
async function open(options?: Docker.DockerOptions): Promise<Docker> {
  const { default: Docker } = await import('dockerode');
  return new Docker(options);
}

/** The connection to the engine for questions, made when it is first used. It is given up when silent for 30 s. */
export function engine(): Promise<Docker> {
  connection ??= open({ timeout: TIMEOUT_MS });
  return connection;
}

/**
 * The connection to the engine for what may well be silent for long, made when it is first used: pulls, events,
 * actions. It has no limit, so each request that needs one brings an AbortSignal.
 */
export function patientEngine(): Promise<Docker> {
  patientConnection ??= open();
  return patientConnection;
}

/** The status of HTTP that the engine answered a failed request with, or undefined when it did not answer. */
export function statusOf(error: unknown): number | undefined {
  return (error as EngineReply).statusCode;
}

/**
 * Explains a failed request in one line: EngineDown when the engine did not answer, and otherwise what it said.
 *
 * @param what was not possible, such as `container "db" does not start`
 */
export function explain(error: unknown, what: string): Error {
  const reply = error as EngineReply;
  const said = whatIsSaid(reply);
  if (reply.statusCode !== undefined) return new Error(`${what}: ${said}`);
  if (reply.name === 'AbortError')
    return new EngineDown(`${what}: the Docker engine has not answered in time`);
  return new EngineDown(`the Docker engine is unreachable (${said})`);
}

/**
 * Explains a failed request about a container in one line.
 *
 * @returns NoSuchContainer when there is none by that name, or more than one; otherwise as `explain` does
 */
export function explainContainer(error: unknown, reference: string): Error {
  const said = (error as EngineReply).json?.message ?? '';
  // The engine answers 500 or 400, by its version, to the beginning of two ids.
  if (/multiple IDs|ambiguous/i.test(said)) {
    return new NoSuchContainer(
      `container "${reference}" is ambiguous: more than one id begins so; write more of it`,
    );
  }
  if (statusOf(error) === 404) {
    return new NoSuchContainer(`no container "${reference}": see docker ps -a for the names there are`);
  }
  return explain(error, `the Docker engine says of container "${reference}"`);
}

// Dockerode has the engine's message as it is only where the answer is no stream.
function whatIsSaid({ json, message }: EngineReply): string {
  const text = json?.message ?? message.replace(/^\(HTTP code \d+\) .*? - /, '');
  return text.trim().replaceAll(/\s+/g, ' ');
}
