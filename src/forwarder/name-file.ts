import { readFileSync } from 'node:fs';
import type { Log } from './log.js';
import { parseOnce } from './named-targets.js';
import type { Resolution } from './resolver.js';

/** The format, with which the file begins. */
const FORMAT = 'wormhole name 1';

/** The most addresses that are read of a file. */
const MOST = 16;

/**
 * Reads what the helper has found out about a name: lines of a word and its value, ended by a NUL or by the end of the file.
 *
 *     wormhole name 1
 *     name db.example.com:5432
 *     address 10.0.0.1:5432
 *     address [fd00::1]:5432
 *     until 81234567
 *     problem no DNS server answers (asked 10.90.0.2)
 *     end
 *
 * The addresses are in the order in which they are to be tried. They are valid `until` this time, ms on CLOCK_MONOTONIC. `problem`
 * says why the last lookup has failed. A file that is missing or empty is a normal result. One that lacks its end is being
 * written, and says nothing, and neither does one about another name, which the link had before it was edited; one that cannot be
 * read or parsed is logged.
 */
export function readNameFile(file: string, name: string, log: Log): Resolution {
  try {
    return parseNameFile(readFileSync(file, 'latin1'), name, monotonicOffset());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      const message = `the addresses in ${file} are of no use: ${(error as Error).message}`;
      log.failure('failed file', message, (count) => `${message}; ${count} more times in the last 10 s`);
    }
    return {};
  }
}

function parseNameFile(text: string, name: string, offset: number): Resolution {
  const [content = ''] = text.split('\0');
  if (content === '') return {};
  const [format, ...lines] = content.split('\n');
  if (format !== FORMAT) throw new Error(`it begins with ${JSON.stringify((format ?? '').slice(0, 40))}`);
  if (!lines.includes('end') || !lines.includes(`name ${name}`)) return {};
  const values = (word: string): string[] =>
    lines.flatMap((line) => (line.startsWith(`${word} `) ? line.slice(word.length + 1) : []));
  const list = values('address').slice(0, MOST).map(parseOnce);
  const until = Number(values('until')[0]);
  const [problem] = values('problem');
  return {
    ...(list[0] !== undefined && { to: list[0] }),
    list,
    ...(Number.isFinite(until) && { expiresAt: until - offset }),
    ...(problem !== undefined && { problem }),
  };
}

/** What CLOCK_MONOTONIC, which all processes share, is ahead of performance.now(), which begins with the process, ms. */
function monotonicOffset(): number {
  return Number(process.hrtime.bigint() / 1_000_000n) - performance.now();
}
