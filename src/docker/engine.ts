import Docker from 'dockerode';

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
    const { Id, Name, State } = await engine().getContainer(reference).inspect();
    return { id: Id, name: Name.replace(/^\//, ''), running: State.Running && State.Pid > 0, pid: State.Pid };
  } catch (error) {
    throw explain(error as EngineReply, reference);
  }
}

/** What a failed request looks like: of node:http when nobody answered, of the engine when it did. */
interface EngineReply extends Error {
  code?: string;
  statusCode?: number;
  reason?: string;
  json?: { message?: string };
}

let connection: Docker | undefined;

/** The connection to the engine, made when it is first used. */
export function engine(): Docker {
  connection ??= new Docker({ timeout: TIMEOUT_MS });
  return connection;
}

function explain(error: EngineReply, reference: string): Error {
  const said = error.json?.message ?? error.reason ?? error.message;
  if (error.statusCode === undefined)
    return new EngineDown(`the Docker engine is not to be reached (${said})`);
  // The engine answers 500 or 400, by its version, to the beginning of two ids.
  if (/multiple IDs|ambiguous/i.test(said)) {
    return new NoSuchContainer(
      `container "${reference}" is ambiguous: more than one id begins so; write more of it`,
    );
  }
  if (error.statusCode === 404) {
    return new NoSuchContainer(`no container "${reference}": see docker ps -a for the names there are`);
  }
  return new Error(`the Docker engine says of container "${reference}": ${said}`);
}
