import { stripVTControlCharacters } from 'node:util';
import { containerState } from './container-state.js';
import { engine, explainContainer } from './engine.js';

/** How much of a line is kept. */
const LINE_LENGTH = 500;

/**
 * The last lines that a container has written to stdout and stderr since it was last started, without control
 * characters and cut to 500 characters each.
 *
 * @param name its exact name
 * @param lines how many, at most
 * @returns none when there is no such container, or its log is kept where the engine cannot read it
 * @throws EngineDown, or the engine's own error
 */
export async function lastLog(name: string, lines: number): Promise<string[]> {
  const state = await containerState(name);
  if (state?.startedAt === undefined) return [];
  const { id, startedAt } = state;
  try {
    const log = await (await engine()).getContainer(id).logs({
      stdout: true,
      stderr: true,
      tail: lines,
      // The engine notes the time of the start after the container's first words.
      since: Math.floor(startedAt / 1000) - 1,
    });
    return logLines(log).slice(-lines);
  } catch (error) {
    const explained = explainContainer(error, name);
    if (/does not support reading/.test(explained.message)) return [];
    throw explained;
  }
}

/**
 * Splits an answer of the engine's into lines: of a container without a terminal, frames of 8 bytes, the last four of
 * which are the length, and text; of one with a terminal, the text alone.
 */
export function logLines(log: Buffer): string[] {
  return Buffer.concat([...payloads(log)])
    .toString()
    .split('\n')
    .map((line) =>
      stripVTControlCharacters(line)
        .replaceAll('\t', ' ')
        .replaceAll(/\p{Cc}/gu, '')
        .slice(0, LINE_LENGTH),
    )
    .filter((line) => line.trim() !== '');
}

function* payloads(log: Buffer): Generator<Buffer> {
  for (let at = 0; at < log.length; ) {
    // A frame begins with 0, 1 or 2 and three zeros, which no text does.
    const framed = at + 8 <= log.length && log.readUInt32LE(at) <= 2;
    if (!framed) return yield log.subarray(at);
    const end = at + 8 + log.readUInt32BE(at + 4);
    yield log.subarray(at + 8, end);
    at = end;
  }
}
