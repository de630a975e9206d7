import type { Readable } from 'node:stream';
import { engineWithoutTimeout, explain } from './engine.js';

/**
 * Yields once when it is subscribed to these events of containers, and then for some of them each time, until the engine ends the stream.
 *
 * @param events in the engine's words
 * @throws EngineDown, or the engine's own error
 */
export async function* containerEvents(events: string[]): AsyncGenerator<void> {
  try {
    const engine = await engineWithoutTimeout();
    const stream = (await engine.getEvents({ filters: { type: ['container'], event: events } })) as Readable;
    yield;
    for await (const _ of stream) yield;
  } catch (error) {
    throw explain(error, 'the events of containers cannot be followed');
  }
}

/**
 * Calls `listener` each time a container starts, ends or gets another name, and once when the engine ends the stream.
 *
 * @returns a function that stops it
 * @throws Error when the engine does not answer
 */
export async function watchContainers(listener: () => void): Promise<() => void> {
  const stream = (await (
    await engineWithoutTimeout()
  ).getEvents({
    filters: { type: ['container'], event: ['start', 'die', 'rename', 'destroy'] },
  })) as Readable;
  stream.on('data', listener);
  stream.on('error', listener);
  stream.on('close', listener);
  return () => {
    stream.removeAllListeners();
    stream.destroy();
  };
}
