import { printable } from '../text/printable.js';

/**
 * Lets a command end quietly when the reader of its output goes away, as in `wormhole list | head -1`: what it prints from
 * then on is discarded, and its work is completed. Output that is lost for another reason (ENOSPC, EIO) is a failure,
 * reported on stderr, with exit status 1.
 */
export function handleLostOutput(program = 'wormhole'): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    process.stderr.write(
      `${program}: cannot write to standard output (${error.message}): the output is lost\n`,
    );
    process.exitCode = 1;
  });
  // An error of standard error itself cannot be reported anywhere.
  process.stderr.on('error', () => {});
}

/** Prints one line on stdout, which is the journal of a service. */
export function logLine(line: string): void {
  process.stdout.write(`${printable(line)}\n`);
}
