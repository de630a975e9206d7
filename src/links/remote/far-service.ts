import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../api/failure.js';
import { readFarAddress, writeFarAddress } from '../../state/far-address.js';
import { readLinks } from '../../state/links.js';
import {
  type PendingDeletion,
  pendingDeletions,
  releasedDeletions,
  subjectOf,
} from '../../state/pending-deletions.js';
import { unfinishedIds } from '../../state/unfinished.js';
import type { LogLine } from '../../systemd/journal-entry.js';
import type { PassedSocket } from '../../systemd/listen-fds.js';
import { withSystemd } from '../../systemd/systemd.js';
import { carryOutTunnelDeletion } from '../../tunnels/carry-out-deletion.js';
import { servicesIn } from '../containers/runs.js';
import { carryOutDeletion, isInUse } from './carry-out-deletion.js';
import type { FarPartRequest } from './far-part.js';
import { farPartsOf, type PlannedFarPart } from './far-parts-of.js';
import { NotNeeded, requestPart } from './request-part.js';
import { serveRequests } from './requests.js';

/** Starts the service again while deletions are pending. */
const TIMER = 'wormhole-far.timer';

/** The service ends when nobody has asked for this long, ms. */
const QUIET_MS = 5_000;

/** At boot, the other machine may be booting too. These are the pauses before further attempts, ms. */
const BOOT_PAUSES_MS = [2_000, 5_000, 10_000];

/**
 * Sees to what links have on other machines, and to services that they start, for wormhole-far.service.
 *
 * When a forwarder cannot reach its far end and asks for its address, the other machine is asked to create its part, or to tell
 * where it is now; when its tail is a service that it cannot reach, that is started. After a boot that is done for every link whose part does not wait for a connection. Machines that could
 * not be reached when a link was deleted are told now. The service ends when nobody has asked for 5 s.
 *
 * @param sockets where forwarders ask; none when the service was not started by one
 * @param log takes one line for the journal about each change
 */
export async function runFarService(sockets: PassedSocket[], log: LogLine): Promise<void> {
  const busy = new Map<string, Promise<void>>();
  const once = (key: string, work: () => Promise<void>): Promise<void> => {
    const running = busy.get(key);
    if (running) return running;
    const now = work().finally(() => busy.delete(key));
    busy.set(key, now);
    return now;
  };
  const server = serveRequests(sockets, (id) => once(id, () => resolveFarEnd(id, log)), log);
  const tasks = [
    ...releasedDeletions().map((deletion) => once(subjectOf(deletion), () => carryOut(deletion, log))),
    ...farParts()
      .filter(({ link, isEager }) => isEager && readFarAddress(link.id) === undefined)
      .map((request) => once(request.link.id, () => createAtBoot(request, log))),
  ];
  await Promise.all(tasks);
  await server.quietFor(QUIET_MS);
  await Promise.all(busy.values());
  await setTimer(pendingDeletions().length > 0);
}

async function carryOut(deletion: PendingDeletion, log: LogLine): Promise<void> {
  const isKept = deletion.kind === 'part' && isInUse(deletion.partId);
  const reason = await (deletion.kind === 'part'
    ? carryOutDeletion(deletion)
    : carryOutTunnelDeletion(deletion));
  // A command has failed, or was killed, before it had deleted the link, or when it had created all of it.
  if (isKept && reason === undefined) return;
  const { peer } = deletion;
  const subject = deletion.kind === 'part' ? `link ${deletion.linkId}` : `tunnel ${deletion.tunnel.id}`;
  log(
    reason === undefined
      ? `${subject}, which is deleted: machine ${peer} has nothing of it any more.`
      : `${subject}, which is deleted: machine ${peer} cannot be told yet: ${reason}. It is tried again in 30 s.`,
    {
      event: reason === undefined ? 'changed' : 'unreachable',
      peer,
      ...(deletion.kind === 'part' && { link: deletion.linkId }),
    },
  );
}

/** A part that another machine is asked for. */
type Request = PlannedFarPart & Pick<FarPartRequest, 'options'>;

/** What the links of this machine have on other ones. */
function farParts(): Request[] {
  const unfinished = new Set(unfinishedIds());
  const { links } = readLinks();
  return links.flatMap((root) => {
    if (root.id !== root.root || unfinished.has(root.id)) return [];
    const { options } = root;
    return farPartsOf(links.filter((part) => part.root === root.id)).map((part) => ({ ...part, options }));
  });
}

async function resolveFarEnd(id: string, log: LogLine): Promise<void> {
  const request = farParts().find(({ link }) => link.id === id);
  if (!request) return startServiceOf(id);
  const before = readFarAddress(id);
  try {
    await create(request, log);
  } catch (error) {
    if (error instanceof NotNeeded) return logNotNeeded(error, request, log);
    const failure = (error as Error).message;
    writeFarAddress(id, { failure });
    if (before === undefined || !('failure' in before) || before.failure !== failure)
      log(
        `link ${id}: machine ${request.link.child.peer} cannot create its part: ${failure}. Clients are closed; each new one tries again.`,
        { event: 'unreachable', link: id, peer: request.link.child.peer },
      );
  }
}

/** Starts the service of a link again, which its forwarder cannot reach, unless it runs. What goes wrong is in the journal of its unit. */
async function startServiceOf(id: string): Promise<void> {
  const run = servicesIn(readLinks().links).find(({ link }) => link.id === id);
  if (run && !unfinishedIds().includes(id)) await withSystemd((systemd) => systemd.queue(run.unit));
}

async function createAtBoot(request: Request, log: LogLine): Promise<void> {
  const { id, child } = request.link;
  for (const pause of [...BOOT_PAUSES_MS, undefined]) {
    try {
      return await create(request, log);
    } catch (error) {
      const { message } = error as Error;
      if (error instanceof NotNeeded) return logNotNeeded(error, request, log);
      if (pause === undefined || error instanceof Failure) {
        log(
          `link ${id}: machine ${child.peer} is unavailable: ${message}. The next connection tries again.`,
          {
            event: 'unreachable',
            link: id,
            peer: child.peer,
          },
        );
        return;
      }
      await sleep(pause);
    }
  }
}

async function create(request: Request, log: LogLine): Promise<void> {
  const { id, child } = request.link;
  const before = readFarAddress(id);
  const found = await requestPart(request, { options: request.options, exactNames: true });
  const { address } = found;
  writeFarAddress(id, found);
  if (before === undefined || !('address' in before) || before.address !== address)
    log(`link ${id}: its part on machine ${child.peer} is at ${address}.`, {
      event: 'moved',
      link: id,
      peer: child.peer,
    });
}

function logNotNeeded({ message }: NotNeeded, { link: { id, child } }: Request, log: LogLine): void {
  log(`${message}.`, { event: 'changed', link: id, peer: child.peer });
}

function setTimer(on: boolean): Promise<void> {
  return withSystemd((systemd) => (on ? systemd.start(TIMER) : systemd.stop(TIMER)));
}
