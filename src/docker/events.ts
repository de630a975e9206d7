import type { Readable } from 'node:stream';
import { patientEngine } from './engine.js';

/**
 * Calls `listener` each time a container starts, ends or gets another name, and once when the engine ends the stream.
 *
 * @returns a function that stops it
 * @throws Error when the engine does not answer
 */
export async function watchContainers(listener: () => void): Promise<() => void> {
  const stream = (await (
    await patientEngine()
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
