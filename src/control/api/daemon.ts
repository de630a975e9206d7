import { createCarryOut } from './carry-out.js';
import { openAddresses, openPassed, type Passed } from './doors.js';
import { KeyUnusable, readKeys } from './key.js';
import { createLog } from './log.js';
import type { DaemonOptions } from './options.js';
import { createRefusals } from './refusals.js';
import type { Desk } from './serve.js';
import { createServers } from './servers.js';

/**
 * Runs the daemon: on the sockets that systemd has passed, until nobody has called for a while; or else on addresses of
 * its own, until a signal ends it. Work that has begun is brought to its end first.
 *
 * @throws Error when it cannot listen
 */
export async function runDaemon(options: DaemonOptions, passed: Passed[]): Promise<void> {
  const log = createLog(process.env);
  const refusals = createRefusals(log.warn);
  const desk: Desk = {
    carryOut: createCarryOut(options.keyFile),
    settings: options,
    log,
    working: 0,
    rest,
  };
  const servers = createServers(desk, () => readKeys(options.keyFile), refusals);
  const noKey = keyTrouble(options.keyFile);
  let ending = false;
  let idle: NodeJS.Timeout | undefined;

  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, end);
  if (passed.length > 0) await openPassed(passed, servers, noKey, log);
  else await openAddresses(options.addresses, servers, noKey, log);
  rest();

  function rest(): void {
    clearTimeout(idle);
    // Those who ask nothing when a signal comes, and those who do not hang up, are not waited for.
    if (ending && desk.working === 0) exit();
    if (passed.length === 0 || desk.working > 0 || servers.open() > 0) return;
    // A caller who comes later than this is in the kernel's queue, which is systemd's: it starts the daemon anew.
    idle = setTimeout(() => servers.open() === 0 && exit(), options.idle * 1000);
  }

  function end(): void {
    ending = true;
    servers.close();
    rest();
  }

  function exit(): void {
    refusals.flush();
    process.exit(0);
  }
}

/** Why there is no key to use; undefined when there is one. */
function keyTrouble(file: string): string | undefined {
  try {
    readKeys(file);
    return undefined;
  } catch (error) {
    if (error instanceof KeyUnusable) return error.message;
    throw error;
  }
}
