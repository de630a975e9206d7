import { writeSync } from 'node:fs';
import { type About, type LogLine, writeEntry } from '../systemd/journal-entry.js';
import { printable } from '../text/printable.js';

/** Where the daemon says what a person should know: standard error, which is the journal under systemd. */
export interface Log {
  info: LogLine;
  warn: LogLine;
}

/** Writes to the journal under systemd, and to standard error elsewhere. */
export function createLog(env: NodeJS.ProcessEnv): Log {
  const write = (priority: 4 | 6, message: string, about: About) => {
    if (writeEntry({ message, identifier: 'wormholed', priority, about })) return;
    const line = printable(message);
    try {
      writeSync(2, env.JOURNAL_STREAM === undefined ? `wormholed: ${line}\n` : `<${priority}>${line}\n`);
    } catch {
      // Nobody reads us any more, or the reader is stuck: the callers matter more.
    }
  };
  return { info: (line, about) => write(6, line, about), warn: (line, about) => write(4, line, about) };
}
