import type { Loop } from './loop.js';
import type { Notify } from './notify.js';
import { createTimer, start } from './timers.js';
import type { Workers } from './workers/workers.js';

/** Tells the service manager that the process is alive as often as that wants to hear it: if there are workers, when all of them are. */
export function pingWatchdog(loop: Loop, notify: Notify, workers: Workers | undefined): void {
  const every = watchdogInterval(process.env, process.pid);
  if (every === undefined) return;
  const tell = () => notify('WATCHDOG=1');
  const alive = createTimer(() => {
    if (workers === undefined) tell();
    else workers.ping(tell);
    start(loop.timers, alive, loop.now + every);
  });
  start(loop.timers, alive, loop.now);
}

/**
 * The interval of WATCHDOG=1, ms: half of WATCHDOG_USEC, as sd_watchdog_enabled(3) advises. Undefined if the
 * service manager does not supervise this process.
 */
function watchdogInterval(env: NodeJS.ProcessEnv, pid: number): number | undefined {
  const limit = Number(env.WATCHDOG_USEC);
  if (!(limit > 0)) return undefined;
  if (env.WATCHDOG_PID !== undefined && Number(env.WATCHDOG_PID) !== pid) return undefined;
  return limit / 2000;
}
