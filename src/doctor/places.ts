import { existsSync } from 'node:fs';
import { EngineDown, NoSuchContainer } from '../docker/engine.js';
import { ForeignContainer } from '../docker/own-container.js';
import { findNamespace, PlaceAbsent } from '../links/containers/namespace.js';
import { isCurrent } from '../links/containers/netns.js';
import { describePlace } from '../recipe/describe.js';
import { localTailOf, type PlaceId } from '../recipe/link.js';
import { givenUpFile, netnsInstance, netnsUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { runsOf } from '../units/runs.js';
import type { Check, Facts } from './facts.js';
import { type Finding, splitAdvice } from './finding.js';

/** Whether the containers and network namespaces that links name are there, and whether links have joined the current ones. */
export const placesCheck: Check = {
  name: 'places',
  async find(facts) {
    const { links } = facts;
    const users = new Map<string, { place: PlaceId; links: PlannedLink[] }>();
    for (const planned of links.filter((link) => isRunning(link, facts)))
      for (const place of placesOf(planned, facts)) {
        const key = `${place.kind} ${place.kind === 'host' ? '' : place.name}`;
        users.set(key, { place, links: [...(users.get(key)?.links ?? []), planned] });
      }
    const places = await Promise.all([...users.values()].map((user) => placeFindings(user, facts)));
    return [...places.flat(), ...links.flatMap(givenUpFindings)];
  },
};

/** One that somebody has stopped needs nothing. */
function isRunning({ id, root }: PlannedLink, { open }: Facts): boolean {
  return open.has(id) || open.has(root);
}

/** The places that should be there at this moment; a container that a link starts itself may sleep. */
function placesOf({ link }: PlannedLink, { engineRuns }: Facts): PlaceId[] {
  const tail = localTailOf(link);
  const ends = [link.head.place, ...(tail && !(tail === link.tail && link.trigger) ? [tail.place] : [])];
  return ends.filter(({ kind }) => kind === 'netns' || (kind === 'container' && engineRuns === true));
}

async function placeFindings(
  { place, links }: { place: PlaceId; links: PlannedLink[] },
  { systemd, units }: Facts,
): Promise<Omit<Finding, 'check'>[]> {
  const roots = [...new Set(links.map(({ root }) => root))].join(', ');
  const subject = describePlace(place);
  try {
    await findNamespace(place);
  } catch (error) {
    const isAbsent = [PlaceAbsent, NoSuchContainer, ForeignContainer].some((type) => error instanceof type);
    // The check of the engine says so.
    if (error instanceof EngineDown) return [];
    if (!isAbsent) throw error;
    const { problem, advice } = splitAdvice((error as Error).message, `wormhole delete ${roots}`);
    return [
      { subject, problem: `${problem}, and link ${roots} waits for it`, advice: adviceFor(place, advice) },
    ];
  }
  const [instance, unit] = [netnsInstance(place), netnsUnit(place)];
  if (instance === undefined || unit === undefined || units.get(unit)?.active !== 'active') return [];
  if (await isCurrent(instance)) return [];
  return [
    {
      subject,
      problem: `it has another network namespace than the one that link ${roots} has joined`,
      advice: 'systemctl start wormhole-sync.service',
      async repair() {
        await systemd.start('wormhole-sync.service');
        return `${subject}: its links have joined its network namespace`;
      },
    },
  ];
}

function adviceFor(place: PlaceId, advice: string): string {
  return place.kind === 'netns' ? `ip netns add ${place.name}` : advice;
}

function givenUpFindings({ link, root }: PlannedLink): Omit<Finding, 'check'>[] {
  return runsOf(link)
    .filter(({ name }) => existsSync(givenUpFile(name)))
    .map(({ unit }) => ({
      subject: `link ${root}`,
      problem: 'its container cannot be started, and clients are closed',
      advice: `journalctl -u ${unit} says why; the next connection tries again`,
    }));
}
