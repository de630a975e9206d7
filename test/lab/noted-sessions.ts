import type { LinkDetails } from '../../src/api/listing-schema.ts';
import { succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';

/**
 * Waits until a link has a session that outlives its forwarder. That is so about a second after it was opened, when the forwarder has
 * notes about it, which are what show tells.
 */
export async function hasNotedSession(host: Host, id: string): Promise<void> {
  const isNoted = async () => {
    const { sessions = [] }: LinkDetails = JSON.parse(await succeeds(host, `show --json ${id}`));
    return sessions.length > 0;
  };
  await host.waitFor(isNoted, { what: `a session of ${id} that is older than a second` });
}
