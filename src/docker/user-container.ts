import { findByName } from './container.js';
import { start, stop } from './own-container.js';

/**
 * Starts a container that somebody else has made, if it does not run.
 *
 * @param name its exact name
 * @throws NoSuchContainer, EngineDown, or the engine's own error
 */
export async function startExisting(name: string): Promise<void> {
  const { id } = await findByName(name);
  await start(id, name);
}

/**
 * Stops a container that somebody else has made, if it runs.
 *
 * @param name its exact name
 * @param seconds until SIGKILL, 10 by default
 * @throws NoSuchContainer, EngineDown, or the engine's own error
 */
export async function stopExisting(name: string, seconds = 10): Promise<void> {
  const { id } = await findByName(name);
  await stop(id, name, seconds);
}
