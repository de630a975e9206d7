import type { Relay } from './connection.js';
import type { Notify } from './notify.js';
import type { Servers } from './servers.js';
import { createTimer, start } from './timers.js';

/** How long a front forwarder that is stopped goes on handing over the clients that it has accepted, ms. */
const LEAVING_MS = 2000;

/** How the process ends on purpose. */
export interface Stop {
  /** Ends the process because of `why`: at once, or when a front forwarder has handed its clients over. */
  begin(why: string): void;
  /** To be called when a connection of the relay has been closed. */
  closed(): void;
}

/** What ends with the process. */
export interface StopOptions {
  readonly relay: Relay;
  readonly servers: Servers;
  readonly notify: Notify;
  /** Whether clients are handed over to the tails of a link. */
  readonly isFront: boolean;
  /** Stores all sessions. Returns whether it did. */
  readonly keepAll: () => boolean;
}

/** Creates what ends the process, and tells what becomes of its sessions. */
export function createStop({ relay, servers, notify, isFront, keepAll }: StopOptions): Stop {
  const { loop, log } = relay;
  /** Why the process ends as soon as its last client is handed over. */
  let leavingFor: string | undefined;
  const exit = (why: string): void => {
    const count = servers.ownSessions();
    if (count > 0) {
      const isOne = count === 1;
      const sessions = `${count} open session${isOne ? '' : 's'}`;
      servers.outliveAll();
      const fate =
        !isFront && keepAll()
          ? `${sessions} ${isOne ? 'continues' : 'continue'} if it is started again, and ${isOne ? 'is' : 'are'} reset otherwise`
          : `reset ${sessions}`;
      log.info('stopped', `stopped by ${why}; ${fate}`);
    }
    log.flush();
    notify(`STOPPING=1\nSTATUS=${why}`);
    process.exit(0);
  };
  return {
    begin(why) {
      if (!isFront || relay.open === 0 || leavingFor !== undefined) {
        exit(why);
        return;
      }
      leavingFor = why;
      servers.stopAccepting();
      const giveUp = createTimer(() => exit(why));
      start(loop.timers, giveUp, loop.now + LEAVING_MS);
    },
    closed() {
      if (leavingFor !== undefined && relay.open === 0) exit(leavingFor);
    },
  };
}
