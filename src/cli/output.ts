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

/** Prints one line on stdout, which is the journal of a service. */
export function logLine(line: string): void {
  process.stdout.write(`${printable(line)}\n`);
}

/** As {@link logLine}, with the priority of an error, sd-daemon(3). */
export function logError(line: string): void {
  logLine(`<3>${line}`);
}
