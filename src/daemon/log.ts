import { writeSync } from 'node:fs';
import { printable } from '../text/printable.js';

/** Where the daemon says what a person should know: standard error, which is the journal under systemd. */
export interface Log {
  info(line: string): void;
  warn(line: string): void;
}

/** Under systemd (JOURNAL_STREAM is set, systemd.exec(5)) each line begins with its priority, as sd-daemon(3) has it. */
export function createLog(env: NodeJS.ProcessEnv): Log {
  const write = (priority: 4 | 6, text: string) => {
    const line = printable(text);
    try {
      writeSync(2, env.JOURNAL_STREAM === undefined ? `wormholed: ${line}\n` : `<${priority}>${line}\n`);
    } catch {
      // Nobody reads us any more, or the reader is stuck: the callers matter more.
    }
  };
  return { info: (line) => write(6, line), warn: (line) => write(4, line) };
}
