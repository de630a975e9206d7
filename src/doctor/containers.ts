import { type Orphan, orphansOf, removeOrphan } from '../docker/orphans.js';
import { formerLinks } from '../state/former-links.js';
import { withLock } from '../state/lock.js';
import { unfinishedIds } from '../state/unfinished.js';
import { unitFileNames } from '../systemd/unit-files.js';
import { idOfUnit } from '../units/names.js';
import type { Check, Facts } from './facts.js';
import type { Finding } from './finding.js';

/** Containers of links that do not exist. An engine that does not run is not asked, which would start it. */
export const containersCheck: Check = {
  name: 'containers',
  async find(facts) {
    if (facts.isBusy || !(await mayAsk(facts))) return [];
    const known = await withLock('links', async () => knownIds());
    return (await orphansOf(known)).map((orphan) => orphanFinding(orphan));
  },
};

/** What is wrong with a container whose link does not exist. */
export function orphanFinding(orphan: Orphan): Omit<Finding, 'check'> {
  const { name, link, isOurs } = orphan;
  const subject = `container ${name}`;
  if (!isOurs)
    return {
      subject,
      problem: `it has the label of link ${link}, which does not exist, and is none that Wormhole has made`,
      advice: `docker rm ${name}, if nobody needs it; it is left alone`,
    };
  return {
    subject,
    problem: `link ${link}, which it was made for, does not exist`,
    advice: `docker rm -f ${name}`,
    repair: () =>
      withLock('links', async () => {
        if (knownIds().has(link)) return `${subject} stays: link ${link} exists by now`;
        await removeOrphan(orphan);
        return `${subject}: removed; its volumes stay`;
      }),
  };
}

/** The ids of all links that exist, or that a killed command has left: their containers are removed with them. */
function knownIds(): Set<string> {
  return new Set([
    ...unitFileNames('wormhole-').flatMap((name) => idOfUnit(name) ?? []),
    ...unfinishedIds(),
    ...formerLinks().keys(),
  ]);
}

/**
 * Whether the engine is this machine's own: the containers in another one's, such as that of the host of a container that we are in, may
 * belong to links there. A machine whose links need no engine may have one, and containers of former links in it.
 */
async function mayAsk({ systemd }: Facts): Promise<boolean> {
  if (process.env.DOCKER_HOST !== undefined) return false;
  return (await systemd.state('docker.service')).active === 'active';
}
