import { readFile } from 'node:fs/promises';
import { quoted } from '../text/quote.js';

/**
 * Reads files of environment variables, as --env-file of docker run does: a `NAME=VALUE` a line, taken as it stands
 * without quotes or expansion; empty lines and lines that begin with `#` count for nothing.
 *
 * @returns the variables in the order of files and lines; the engine takes the last of a name
 * @throws Error when a file cannot be read, or a line is not of that form
 */
export async function readEnvFiles(paths: string[]): Promise<string[]> {
  return (await Promise.all(paths.map(readEnvFile))).flat();
}

async function readEnvFile(path: string): Promise<string[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new Error(`--env-file ${quoted(path)} cannot be read: ${error.code}`);
  });
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  return lines.flatMap((raw, index) => {
    const line = raw.trimStart();
    if (line === '' || line.startsWith('#')) return [];
    if (/^[^=\s]+=/.test(line)) return [line];
    throw new Error(`--env-file ${quoted(path)}, line ${index + 1}: write NAME=VALUE`);
  });
}
