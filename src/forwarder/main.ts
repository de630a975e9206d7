import { forward } from './forward.js';
import { type Passed, passedFds } from './listen.js';
import { printFatal } from './log.js';
import { type Options, parseOptions, USAGE } from './options.js';
import { poll } from './syscalls.js';
import type { Threads } from './workers/threads.js';

/*
 * The forwarder: accepts clients on the listening sockets that systemd passes, and relays each of them to the
 * target. The listening sockets belong to the network namespace of the head; the process runs in that of the
 * tail.
 */

/** Exit status for a command line that can never work. */
const BAD_CALL = 2;

/** Exit status when the kernel refuses what the process needs (EX_OSERR, sysexits.h). */
const FAILURE = 71;

/** The delay before it exits with one of these, ms. The unit has none, because open sessions wait. */
const FAILURE_PAUSE_MS = 1000;

/** Exit status of Node for an exception that nothing catches: also if it cannot load this program, which would fail at once again. */
const UNCAUGHT = 1;

/** Exit status for such an exception of this program (EX_SOFTWARE, sysexits.h). */
const FAULT = 70;

// RestartForceExitStatus= of the unit has those with which systemd starts the program again at once.
process.on('exit', (status) => {
  if (status === UNCAUGHT) process.exitCode = FAULT;
});

// A worker runs the same program: see workers/threads.ts.
if (process.argv[2] === '--worker') {
  import('./workers/threads.js').then(({ NOTHING_PASSED, workerData }) =>
    forward(parseOptions(process.argv.slice(3)), NOTHING_PASSED, { own: workerData }),
  );
} else {
  main();
}

function main(): void {
  let options: Options;
  let passed: Passed;
  try {
    options = parseOptions(process.argv.slice(2));
    passed = passedFds(process.env, process.pid);
  } catch (error) {
    printFatal(`wormhole forwarder: ${(error as Error).message}; ${USAGE}`);
    exitPaced(BAD_CALL);
  }
  const begin = (threads?: Threads): void => {
    try {
      forward(options, passed, threads);
    } catch (error) {
      printFatal(
        `link ${options.link}: the forwarder cannot start: ${(error as Error).message}`,
        options.link,
      );
      exitPaced(FAILURE);
    }
  };
  if (options.workers === undefined) begin();
  else import('./workers/threads.js').then(({ startThread }) => begin({ startThread }));
}

/** Exits because the process cannot start. A service manager starts it again at once, so this keeps that from becoming a storm. */
function exitPaced(status: number): never {
  if (process.env.NOTIFY_SOCKET) poll(0, 0, FAILURE_PAUSE_MS);
  process.exit(status);
}
