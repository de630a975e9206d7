import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { quoted } from '../text/quote.js';

/** The kernel gives a program 2 MiB of arguments and environment by default, execve(2). */
const SIZE_LIMIT = 2 * 1024 * 1024;

/**
 * Reads files of environment variables, as --env-file of docker run does: a `NAME=VALUE` a line, taken as it stands
 * without quotes or expansion; empty lines and lines that begin with `#` count for nothing.
 *
 * @returns the variables in the order of files and lines; the engine takes the last of a name
 * @throws Error when a file cannot be read, is not a regular file, is larger than 2 MiB, or a line is not of that form
 */
export async function readEnvFiles(paths: string[]): Promise<string[]> {
  return (await Promise.all(paths.map(readEnvFile))).flat();
}

async function readEnvFile(path: string): Promise<string[]> {
  const text = await readText(path).catch((error: NodeJS.ErrnoException) => {
    throw new Error(`--env-file ${quoted(path)} cannot be read: ${error.code ?? error.message}`);
  });
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  return lines.flatMap((raw, index) => {
    const line = raw.trimStart();
    if (line === '' || line.startsWith('#')) return [];
    if (/^[^=\s]+=/.test(line)) return [line];
    throw new Error(`--env-file ${quoted(path)}, line ${index + 1}: write NAME=VALUE`);
  });
}

/** The file may be anyone's: a pipe would block the start of the container for ever, and /dev/zero would fill the memory. */
async function readText(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const status = await file.stat();
    if (!status.isFile()) throw new Error('it is not a regular file');
    if (status.size > SIZE_LIMIT) throw new Error('it is larger than 2 MiB');
    const bytes = Buffer.alloc(status.size);
    // What others append meanwhile is not read.
    const { bytesRead } = await file.read(bytes, 0, status.size, 0);
    return bytes.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}
