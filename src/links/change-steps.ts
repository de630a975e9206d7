import type { FormerLink } from '../state/former-links.js';
import { makeForwarderRoot } from '../state/installation.js';
import { makeDirectory } from '../system/files.js';
import { removeDropIn, writeDropIns } from '../systemd/drop-ins.js';
import { JobError, type Systemd } from '../systemd/systemd.js';
import { DROP_IN, hasText } from '../units/declared-drop-ins.js';
import { linkDirectory, netnsUnit, runUnit, serviceUnit, socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { closeGate, openGate } from './containers/gates.js';
import { startUnits } from './install.js';

/** Writes the drop-ins of units, and removes those that have no text. */
export function setDropIns(dropIns: { unit: string; text?: string }[]): void {
  for (const dropIn of dropIns) if (!hasText(dropIn)) removeDropIn(dropIn.unit, DROP_IN);
  writeDropIns(dropIns.filter(hasText), DROP_IN);
}

/** Connections are held while the containers of a link are exchanged. */
export function closeGates({ runs }: FormerLink): void {
  for (const { name } of runs) closeGate(name);
}

/** Lets connections to the containers of a link through again; see {@link closeGates}. */
export function openGates({ runs }: FormerLink): void {
  for (const { name } of runs) openGate(name);
}

/** Stops what cannot stay: sockets that listen otherwise or not at all, and what uses containers that are exchanged. */
export async function close({ close: ids, runs }: FormerLink, systemd: Systemd): Promise<void> {
  for (const id of ids) {
    await systemd.stop(socketUnit(id));
    await systemd.stop(serviceUnit(id));
  }
  for (const { name, link } of runs) {
    await systemd.stop(serviceUnit(link));
    await systemd.stop(runUnit(name));
    await stopNamespaceOf(name, systemd);
    await systemd.resetFailed(runUnit(name));
  }
}

/** Stops the network namespace of a container, and forgets that it has failed. */
export async function stopNamespaceOf(run: string, systemd: Systemd): Promise<void> {
  const namespace = netnsUnit({ kind: 'run', name: run }) ?? '';
  await systemd.stop(namespace);
  await systemd.resetFailed(namespace);
}

/** Makes systemd read the units again, after the directories that units of these parts of links use are made. */
export async function reload(parts: PlannedLink[], systemd: Systemd): Promise<void> {
  makeForwarderRoot();
  for (const { id } of parts) makeDirectory(linkDirectory(id));
  await systemd.reloadAll();
}

/** Starts a link whose units are loaded, unless it was stopped before. @throws as startUnits */
export async function open(parts: PlannedLink[], saved: FormerLink, systemd: Systemd): Promise<void> {
  if (saved.isStopped) return;
  await startUnits(parts, systemd);
  await finishOpening(parts, saved, systemd);
}

/** Opens what a running unit has opened before, and has running forwarders do what their units say now. */
export async function finishOpening(
  parts: PlannedLink[],
  saved: FormerLink,
  systemd: Systemd,
): Promise<void> {
  if (saved.isStopped) return;
  for (const { id, openedBy } of parts) {
    // What opens it runs already, and does not start it a second time.
    if (openedBy !== undefined && (await systemd.state(openedBy)).active === 'active')
      await systemd.start(socketUnit(id));
  }
  for (const unit of saved.restart) {
    try {
      await systemd.tryRestart(unit);
    } catch (error) {
      // Its idleness may stop it at this moment.
      if (!(error instanceof JobError && error.result === 'canceled')) throw error;
    }
  }
}
