import { setTimeout as sleep } from 'node:timers/promises';
import { type ContainerState, containerState } from '../../docker/container-state.js';
import { containerEvents } from '../../docker/events.js';
import { readLinks } from '../../state/links.js';
import { makeDirectory, writeAtomically } from '../../system/files.js';
import type { LogLine } from '../../systemd/journal-entry.js';
import { checkedContainers } from '../../units/balance.js';
import { linkDirectory, unhealthyFile } from '../../units/names.js';

/** The delay before an engine that does not answer is asked again, ms. */
const RETRY_MS = 5_000;

/** After these, a container may have another health: its name may be that of another one, too. */
const EVENTS = ['health_status', 'start', 'die', 'rename', 'destroy'];

/**
 * Follows what the health checks of containers say that are tails of a link, for wormhole-health@ID.service, and tells the forwarder of the
 * link, which gives no new client to a tail whose container is not healthy. Ends at once if the link has no such tail.
 *
 * While the engine does not answer, what it has said last stays.
 *
 * @param log takes a line about each change
 */
export async function followHealth(id: string, log: LogLine): Promise<void> {
  const link = readLinks().links.find((one) => one.id === id)?.link;
  const tails = link ? checkedContainers(link) : [];
  if (tails.length === 0) return;
  const former = new Map<string, string>();
  let problem = '';
  for (;;) {
    try {
      for await (const _ of containerEvents(EVENTS)) {
        await look(id, tails, { former, log });
        problem = '';
      }
    } catch (error) {
      const { message } = error as Error;
      if (message !== problem)
        log(`link ${id}: the health of its containers is unknown: ${message}`, { event: 'failed', link: id });
      problem = message;
    }
    await sleep(RETRY_MS);
  }
}

/** Asks for the health of all containers, and tells it. @param former why each was not healthy the last time */
async function look(
  id: string,
  tails: ReturnType<typeof checkedContainers>,
  { former, log }: { former: Map<string, string>; log: LogLine },
): Promise<void> {
  const unhealthy: string[] = [];
  const lines: Parameters<LogLine>[] = [];
  for (const { name, container } of tails) {
    const state = await containerState(container);
    const reason = state ? whyUnhealthy(state) : undefined;
    if (reason !== undefined) unhealthy.push(name);
    const before = former.get(name);
    if (reason === undefined) former.delete(name);
    else former.set(name, reason);
    if (reason !== undefined && reason !== before)
      lines.push([
        `link ${id}: container ${container} ${reason}; new clients go to the other tails`,
        { event: 'avoided', link: id },
      ]);
    if (reason === undefined && before !== undefined && state?.running)
      lines.push([
        `link ${id}: container ${container} is healthy; it gets clients again`,
        { event: 'restored', link: id },
      ]);
  }
  makeDirectory(linkDirectory(id));
  writeAtomically(unhealthyFile(id), unhealthy.map((name) => `${name}\n`).join(''));
  for (const line of lines) log(...line);
}

/** Undefined for a healthy container, for one without a health check, and for one that does not run: that accepts no client. */
function whyUnhealthy({ running, health, healthOutput }: ContainerState): string | undefined {
  if (!running || health === 'none' || health === 'healthy') return undefined;
  if (health === 'starting') return 'is not healthy yet';
  const line = healthOutput.split('\n').at(-1)?.slice(0, 200) ?? '';
  return `is unhealthy${line === '' ? '' : ` ("${line}")`}`;
}
