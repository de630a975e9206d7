import { setTimeout as sleep } from 'node:timers/promises';
import { connectSystemd } from '../systemd/systemd.js';
import { isEager, type NamedLink } from '../units/plan.js';
import type { Passed } from './api/doors.js';
import { Failure } from './api/failure.js';
import { answerForwarders } from './ask.js';
import { type FarLink, farLinkOf, makeFarPart } from './far.js';
import { readFarFile, writeFarFile } from './far-file.js';
import { readLinks } from './links.js';
import { type Debt, debts, isTunnels, openDebts } from './owed.js';
import { pay } from './pay.js';
import { unfinishedIds } from './unfinished.js';

/** Takes one line for the journal. */
export type Say = (line: string) => void;

/** Has systemd start the service again, as long as there are debts. */
const TIMER = 'wormhole-far.timer';

/** After so long without a question it ends, ms. */
const QUIET_MS = 5_000;

/** At boot, the other machine may be booting too: waits so long before the next attempts, ms. */
const BOOT_PAUSES_MS = [2_000, 5_000, 10_000];

/**
 * Sees to what links have on other machines: what wormhole-far.service does.
 *
 * A forwarder that cannot reach its far end asks for help: the other machine is asked to make its part, or to tell where it is
 * now. After a boot that is done for every link whose part is not to wait for a connection. And machines that could not
 * be reached when a link was deleted are told now. It ends when nothing has been asked for 5 s.
 *
 * @param sockets where forwarders ask; none when it was not started by one
 * @param say takes one line for the journal about each change
 */
export async function keepFarEnds(sockets: Passed[], say: Say): Promise<void> {
  const busy = new Map<string, Promise<void>>();
  const once = (key: string, work: () => Promise<void>): Promise<void> => {
    const running = busy.get(key);
    if (running) return running;
    const now = work().finally(() => busy.delete(key));
    busy.set(key, now);
    return now;
  };
  const door = answerForwarders(sockets, (id) => once(id, () => helpForwarder(id, say)));
  const errands = [
    ...openDebts().map((debt) =>
      once(debt.key, async () => {
        const left = await pay(debt);
        say(
          left === undefined
            ? `${named(debt)}, which is deleted: machine ${debt.peer} has nothing of it any more.`
            : `${named(debt)}, which is deleted: machine ${debt.peer} cannot be told yet: ${left}. It is tried again in 30 s.`,
        );
      }),
    ),
    ...farLinks()
      .filter(({ id, root }) => isEager(root) && readFarFile(id) === undefined)
      .map((link) => once(link.id, () => makeAtBoot(link, say))),
  ];
  await Promise.all(errands);
  await door.quietFor(QUIET_MS);
  await Promise.all(busy.values());
  await setTimer(debts().length > 0);
}

/** What a debt is about, in words. */
function named(debt: Debt): string {
  return isTunnels(debt) ? `tunnel ${debt.key}` : `link ${debt.id}`;
}

/** The links of this machine that have a part on another one, each with the link that was created. */
function farLinks(): (FarLink & { root: NamedLink['link'] })[] {
  const unfinished = new Set(unfinishedIds());
  return readLinks().links.flatMap(({ id, root, link, far, options }) => {
    const found = id === root && far && !unfinished.has(id) ? farLinkOf(link, far, options) : undefined;
    return found ? [{ ...found, root: link }] : [];
  });
}

async function helpForwarder(id: string, say: Say): Promise<void> {
  const link = farLinks().find((candidate) => candidate.id === id);
  if (!link) return;
  const before = readFarFile(id);
  try {
    await make(link, say);
  } catch (error) {
    const trouble = (error as Error).message;
    writeFarFile(id, { trouble });
    if (before === undefined || !('trouble' in before) || before.trouble !== trouble)
      say(
        `link ${id}: machine ${link.link.child.peer} cannot make its part: ${trouble}. Clients are closed; each new one tries again.`,
      );
  }
}

async function makeAtBoot(link: FarLink, say: Say): Promise<void> {
  for (const pause of [...BOOT_PAUSES_MS, undefined]) {
    try {
      return await make(link, say);
    } catch (error) {
      const { message } = error as Error;
      if (pause === undefined || error instanceof Failure) {
        say(
          `link ${link.id}: machine ${link.link.child.peer} is not to be had: ${message}. The next connection tries again.`,
        );
        return;
      }
      await sleep(pause);
    }
  }
}

async function make(link: FarLink, say: Say): Promise<void> {
  const before = readFarFile(link.id);
  const address = await makeFarPart(link);
  writeFarFile(link.id, { address });
  if (before === undefined || !('address' in before) || before.address !== address)
    say(`link ${link.id}: its part on machine ${link.link.child.peer} is at ${address}.`);
}

async function setTimer(on: boolean): Promise<void> {
  const systemd = await connectSystemd();
  try {
    if (on) await systemd.start(TIMER);
    else await systemd.stop(TIMER);
  } finally {
    systemd.close();
  }
}
