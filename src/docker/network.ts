import { engine, explain, isAmbiguous, statusOf } from './engine.js';

/**
 * Makes sure that there is a network of Docker's of exactly this name, or with this whole id: to the engine itself, a name that
 * no network has is the beginning of an id.
 *
 * @throws Error when there is none; EngineDown, or the engine's own error
 */
export async function requireNetwork(name: string): Promise<void> {
  const found = await inspect(name);
  if (found?.Name === name || found?.Id === name) return;
  throw new Error(`no docker network "${name}": docker network create ${name}`);
}

async function inspect(name: string): Promise<{ Name: string; Id: string } | undefined> {
  try {
    return await (await engine()).getNetwork(name).inspect();
  } catch (error) {
    if (statusOf(error) === 404 || isAmbiguous(error)) return undefined;
    throw explain(error, `the Docker engine says of network "${name}"`);
  }
}
