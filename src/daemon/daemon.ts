import { KeyUnusable, readKeys } from '../api/key.js';
import type { PassedSocket } from '../systemd/listen-fds.js';
import { createLog } from './log.js';
import { createOperations } from './operations.js';
import type { DaemonOptions } from './options.js';
import { createRefusals } from './refusals.js';
import type { RequestContext } from './serve.js';
import { createServers } from './servers.js';
import { openEndpoints, openPassed } from './sockets.js';

/**
 * Runs the daemon: on the sockets that systemd has passed, until it has been idle for a while; or else on endpoints of its
 * own, until a signal ends it. Work that has begun is completed first.
 *
 * @throws Error when it cannot listen
 */
export async function runDaemon(options: DaemonOptions, passed: PassedSocket[]): Promise<void> {
  const log = createLog(process.env);
  const refusals = createRefusals(log.warn);
  const context: RequestContext = {
    operations: createOperations(options),
    settings: options,
    log,
    working: 0,
    reading: 0,
    onEnd: exitOrWait,
  };
  const servers = createServers(context, () => readKeys(options.keyFile), refusals);
  const opening = { servers, noKey: whyNoKey(options.keyFile), log };
  let ending = false;
  let idle: NodeJS.Timeout | undefined;

  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, end);
  if (passed.length > 0) await openPassed(passed, opening);
  else await openEndpoints(options.endpoints, opening);
  exitOrWait();

  function exitOrWait(): void {
    clearTimeout(idle);
    // After a signal, connections without a request are not awaited, nor those that stay open after their answer.
    const answering = context.working + context.reading;
    if (ending && answering === 0) exit();
    if (passed.length === 0 || answering > 0 || servers.open() > 0) return;
    // A later caller is in the queue of the kernel, on a socket of systemd's, which starts the daemon again.
    idle = setTimeout(() => servers.open() === 0 && exit(), options.idle * 1000);
  }

  function end(): void {
    ending = true;
    servers.close();
    exitOrWait();
  }

  function exit(): void {
    refusals.flush();
    process.exit(0);
  }
}

/** Why there is no key to use; undefined when there is one. */
function whyNoKey(file: string): string | undefined {
  try {
    readKeys(file);
    return undefined;
  } catch (error) {
    if (error instanceof KeyUnusable) return error.message;
    throw error;
  }
}
