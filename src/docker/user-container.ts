import { findContainer } from './engine.js';
import { start, stop } from './own-container.js';

/**
 * Starts a container that somebody else has made, if it does not run.
 *
 * @param reference its name or id
 * @throws NoSuchContainer, EngineDown, or the engine's own error
 */
export async function startExisting(reference: string): Promise<void> {
  const { id, name } = await findContainer(reference);
  await start(id, name);
}

/**
 * Stops a container that somebody else has made, if it runs.
 *
 * @param reference its name or id
 * @param seconds until SIGKILL, 10 by default
 * @throws NoSuchContainer, EngineDown, or the engine's own error
 */
export async function stopExisting(reference: string, seconds = 10): Promise<void> {
  const { id, name } = await findContainer(reference);
  await stop(id, name, seconds);
}
