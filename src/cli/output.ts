import { type About, type LogLine, writeEntry } from '../systemd/journal-entry.js';
import { printable } from '../text/printable.js';

/** What a command has done that the user must know even if standard output is lost. */
let outcome: string | undefined;

/**
 * Lets a command end quietly when the reader of its output goes away, as in `wormhole list | head -1`: what it prints from
 * then on is discarded, and its work is completed. Output that is lost for another reason (ENOSPC, EIO) is a failure,
 * reported on stderr, with exit status 1.
 */
export function handleLostOutput(program = 'wormhole'): void {
  process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    if (code !== 'EPIPE') process.exitCode = 1;
    else if (outcome === undefined) return;
    const lost = outcome ?? 'the output is lost';
    process.stderr.write(`${program}: cannot write to standard output (${message}): ${lost}\n`);
  });
  // An error of standard error itself cannot be reported anywhere.
  process.stderr.on('error', () => {});
}

/** Prints what a command has created. If standard output is lost, stderr says that it exists nevertheless. */
export function printCreated(what: string, text: string): void {
  outcome = `${what} is created: ${text}`;
  process.stdout.write(`${text}\n`);
}

/** Prints one line on stdout. */
export function printLine(line: string): void {
  process.stdout.write(`${printable(line)}\n`);
}

/** The journal of a service. */
export interface ServiceLog {
  info: LogLine;
  warn: LogLine;
  error: LogLine;
}

/** What each line of a service is about, unless its unit says that itself with LogExtraFields=. */
type Common = Omit<About, 'event'>;

/** The service that this process is: SyslogIdentifier= of its unit, and what all its lines are about. Undefined if it is none. */
let service: { identifier: string; common: Common } | undefined;

/**
 * Writes to the journal, or elsewhere to standard output, where a person sees it who runs the service by hand. `identifier` is
 * SyslogIdentifier= of its unit, which the process cannot ask for. {@link logFailure} uses it from then on.
 */
export function serviceLog(identifier: string, common: Common = {}): ServiceLog {
  service = { identifier, common };
  const writer =
    (priority: 3 | 4 | 6): LogLine =>
    (message, about) => {
      if (writeEntry({ message, identifier, priority, about: { ...common, ...about } })) return;
      printLine(process.env.JOURNAL_STREAM === undefined ? message : `<${priority}>${message}`);
    };
  return { info: writer(6), warn: writer(4), error: writer(3) };
}

/** Writes to the journal what goes wrong, if this process is a service. Returns whether it did. */
export function logFailure(message: string): boolean {
  if (service === undefined) return false;
  const { identifier, common } = service;
  return writeEntry({ message, identifier, priority: 3, about: { ...common, event: 'failed' } });
}
