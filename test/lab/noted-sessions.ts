import type { LinkDetails } from '../../src/api/listing-schema.ts';
import { succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';

/**
 * Waits until a link has so many sessions that outlive its forwarder. One does about a second after it was opened, when the forwarder has
 * notes about it, which are what show tells, whichever thread has it.
 */
export async function hasNotedSessions(host: Host, id: string, count = 1): Promise<void> {
  const areNoted = async () => {
    const { sessions = [] }: LinkDetails = JSON.parse(await succeeds(host, `show --json ${id}`));
    return sessions.length >= count;
  };
  await host.waitFor(areNoted, { what: `${count} sessions of ${id} that are older than a second` });
}
