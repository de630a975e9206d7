/**
 * Lets a command end quietly when the reader of its output goes away, as in `wormhole list | head -1`: what it prints from
 * then on goes nowhere, and what it does is done to the end. Output that is lost for another reason (ENOSPC, EIO) is a
 * failure, told on stderr, with exit status 1.
 */
export function handleLostOutput(program = 'wormhole'): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    process.stderr.write(
      `${program}: cannot write to standard output (${error.message}): the output is lost\n`,
    );
    process.exitCode = 1;
  });
  // There is no place left to tell anything about standard error itself.
  process.stderr.on('error', () => {});
}
