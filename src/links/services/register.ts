import { readEtcdConfig } from '../../registry/etcd/config.js';
import { registerInEtcd } from '../../registry/etcd/register.js';
import { noteRegistrationProblem } from '../../registry/problems.js';
import { withLock } from '../../state/lock.js';
import { publishedNames } from '../../state/published.js';
import type { LogLine } from '../../systemd/journal-entry.js';
import { withSystemd } from '../../systemd/systemd.js';

/** Renews what etcd has of this machine, while it publishes something. */
const TIMER = 'wormhole-services-register.timer';
const SERVICE = 'wormhole-services-register.service';

/**
 * Says in etcd, if a file says where that is, what this machine publishes.
 *
 * @param log takes one line for the journal when that has changed, or cannot be said; a problem that stays is told once
 */
export function registerServices(log: LogLine): Promise<void> {
  // One after the other: each renews what the one before has noted.
  return withLock('registration', async () => {
    try {
      const config = readEtcdConfig();
      const line = config && (await registerInEtcd(config, publishedNames()));
      noteRegistrationProblem(undefined);
      if (line !== undefined) log(line, { event: 'changed' });
    } catch (error) {
      const { message } = error as Error;
      if (noteRegistrationProblem(message))
        log(`etcd does not have what is published here: ${message}. It is tried again every 20 s.`, {
          event: 'failed',
        });
    }
  });
}

/** Has systemd say at once what has changed, and renew it from then on. An etcd that is down keeps no command from its work. */
export function registerSoon(): Promise<void> {
  return withSystemd(async (systemd) => {
    await systemd.queue(TIMER);
    await systemd.queue(SERVICE);
  });
}
