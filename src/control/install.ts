import { lastLines } from '../systemd/journal.js';
import { JobError, type Systemd } from '../systemd/systemd.js';
import { writeUnitFile } from '../systemd/unit-files.js';
import { netnsUnit, serviceUnit, socketUnit } from '../units/names.js';
import type { NamedLink } from '../units/plan.js';
import { describeEnd, renderLink } from '../units/render.js';
import { runsOf } from '../units/runs.js';
import { installation, templates } from './installation.js';

/** Something else listens where a head is to listen. */
export class AddressInUse extends Error {}

/**
 * Writes the units of a link and its children, starts what no connection is to start, and enables it for the next boot.
 * Children first: a link is not to listen before what it leads to does.
 *
 * @throws AddressInUse; Error with what systemd, or the program that failed, says
 */
export async function install(parts: NamedLink[], systemd: Systemd): Promise<void> {
  const [where, using] = [installation(), templates()];
  const since = Date.now();
  const files = parts.flatMap((part) => renderLink(part, where, using));
  for (const { name, text } of files.toReversed()) writeUnitFile(name, text);
  await refresh(
    files.map(({ name }) => name),
    systemd,
  );
  for (const part of parts.toReversed()) {
    if (part.openedBy !== undefined) continue;
    const atOnce = part.link.trigger ? [] : runsOf(part).map((run) => run.unit);
    for (const unit of [socketUnit(part.id), ...atOnce]) {
      await startOrExplain(unit, part, since, systemd);
      await systemd.enable(unit);
    }
  }
}

/**
 * Writes the socket and the service of a link that is there already anew, and has it listen as they say now. What it runs
 * stays as it is; its sessions end.
 *
 * @throws as install
 */
export async function reinstall(part: NamedLink, systemd: Systemd): Promise<void> {
  const [socket, service] = [socketUnit(part.id), serviceUnit(part.id)];
  const since = Date.now();
  const files = renderLink(part, installation(), templates());
  for (const { name, text } of files) if (name === socket || name === service) writeUnitFile(name, text);
  await refresh([socket, service], systemd);
  for (const unit of [socket, service]) await systemd.stop(unit);
  await startOrExplain(socket, part, since, systemd);
  await systemd.enable(socket);
}

async function startOrExplain(unit: string, part: NamedLink, since: number, systemd: Systemd): Promise<void> {
  try {
    await systemd.start(unit);
  } catch (error) {
    throw error instanceof JobError ? await explain(error, part, since) : error;
  }
}

/**
 * Has systemd know the files as they are. It reads a unit that it has not in memory by itself, so a reload, which reads
 * every unit of the machine anew, is needed only for one that is still there from an earlier link of the same id.
 */
async function refresh(units: string[], systemd: Systemd): Promise<void> {
  for (const unit of units) {
    const { load, needReload } = await systemd.state(unit);
    if (load === 'loaded' && !needReload) continue;
    await systemd.reloadAll();
    break;
  }
  for (const unit of units) {
    const { load } = await systemd.state(unit);
    if (load !== 'loaded')
      throw new Error(`systemd does not take ${unit} (${load}): journalctl -b | grep ${unit}`);
  }
}

/** Why a unit did not start, from what it and systemd wrote about it and about the namespace that it needs. */
async function explain(error: JobError, { id, link: { head } }: NamedLink, since: number): Promise<Error> {
  const lines = await lastLines(error.unit, since);
  if (lines.some((line) => /Address already in use/.test(line))) {
    return new AddressInUse(
      `${describeEnd(head)} is in use already: stop what listens there, or take another port`,
    );
  }
  const needed = netnsUnit(head.place);
  if (needed && error.result === 'dependency') lines.push(...(await lastLines(needed, since)));
  // A program's own words say more than systemd's that it has failed.
  const own = lines.find((line) => line.startsWith('wormhole: '))?.slice('wormhole: '.length);
  const said = own ?? (lines.join(' / ') || 'the journal says nothing');
  return new Error(`link "${id}" could not be started (${error.result}): ${said}`);
}
