import { dirname } from 'node:path';
import { parsePeerEndpoint } from '../../api/endpoint.js';
import { requireIpsec } from '../../ipsec/capability.js';
import { withLock } from '../../state/lock.js';
import { readTunnels } from '../../state/tunnels.js';
import { isThere } from '../../system/files.js';
import { removeDropIn, writeDropIns } from '../../systemd/drop-ins.js';
import { type Systemd, withSystemd } from '../../systemd/systemd.js';
import { ensureTunnel } from '../../tunnels/create.js';
import { deleteTunnel } from '../../tunnels/delete.js';
import { findTunnel } from '../../tunnels/find.js';
import type { DeclaredTunnel, FileFault } from '../../units/declaration.js';
import { DROP_IN, hasText } from '../../units/declared-drop-ins.js';
import { type Tunnel, tunnelUnit } from '../../units/tunnel.js';
import { contentOf, dropInChange, unitsOfTunnel } from './drop-ins.js';
import { tunnelText } from './text.js';

/** What is about to happen to a tunnel, or would: the texts of its file before and after, '' for none. */
export interface TunnelDifference {
  peer: string;
  file?: string;
  former: string;
  next: string;
}

/** Is told what happens. */
export interface TunnelReport {
  tunnelDiffers(difference: TunnelDifference): void;
  tunnelCreated(tunnel: Tunnel): void;
  tunnelChanged(tunnel: Tunnel): void;
  tunnelDeleted(peer: string, file: string): void;
  failed(fault: FileFault): void;
  note(line: string): void;
}

/** What is applied; see ApplyRequest. */
export interface TunnelRequest {
  tunnels: DeclaredTunnel[];
  keyFile: string;
  dryRun: boolean;
}

/** Which tunnels are deleted; see PruneRequest. */
export interface PruneTunnelsRequest {
  tunnels: DeclaredTunnel[];
  directory: string;
  files: string[];
  /** One that has a fault, if there is one. */
  faulty?: string | undefined;
  dryRun: boolean;
}

/**
 * Makes tunnels what files say. One that exists is left as it is, but for the drop-ins of its unit; one that has to be of the other
 * mode is deleted and created again, if no link uses it.
 *
 * @throws Error when nothing can be done at all; what fails with one tunnel is reported
 */
export async function applyTunnels(request: TunnelRequest, report: TunnelReport): Promise<void> {
  for (const declared of request.tunnels) {
    try {
      await applyTunnel(declared, request, report);
    } catch (error) {
      report.failed({ ...declared.at, message: (error as Error).message });
    }
  }
}

async function applyTunnel(
  declared: DeclaredTunnel,
  { keyFile, dryRun }: TunnelRequest,
  report: TunnelReport,
): Promise<void> {
  const { host, mode, file, extra } = declared;
  parsePeerEndpoint(host);
  const former = await findTunnel(host);
  const isKept = former?.mode === mode && former.asked;
  if (former && isKept && dropInChange(unitsOfTunnel(former.peer), declared) === undefined) {
    if (!dryRun) await reloadIfNeeded(former);
    return;
  }
  report.tunnelDiffers({
    peer: host,
    ...(file !== undefined && { file }),
    former: former ? describe(former) : '',
    next: tunnelText({ host, mode, extra }),
  });
  if (dryRun) return;
  await requireIpsec();
  if (former && former.mode !== mode) await deleteTunnel(former.peer, { force: false });
  const tunnel = former && isKept ? former : await ensureTunnel(host, mode, keyFile);
  await withSystemd((systemd) => withLock('tunnels', () => setDropIns(tunnel, declared, systemd)));
  if (former) report.tunnelChanged(tunnel);
  else report.tunnelCreated(tunnel);
}

/** An apply that was killed may have written the drop-in, and not told systemd. */
function reloadIfNeeded({ peer }: Tunnel): Promise<void> {
  return withSystemd(async (systemd) => {
    if ((await systemd.state(tunnelUnit(peer))).needReload) await systemd.reloadAll();
  });
}

/** They count from the next start of the tunnel's unit on, which would not change the tunnel. */
async function setDropIns({ peer }: Tunnel, declared: DeclaredTunnel, systemd: Systemd): Promise<void> {
  const change = dropInChange(unitsOfTunnel(peer), declared);
  if (!change) return;
  for (const { unit } of change.dropIns) removeDropIn(unit, DROP_IN);
  writeDropIns(change.dropIns.filter(hasText), DROP_IN);
  await systemd.reloadAll();
}

/** Deletes the tunnels that were made from files of a directory which are gone; see `pruneLinks`. Links go before, which use them. */
export async function pruneTunnels(
  { tunnels: declared, directory, files, faulty, dryRun }: PruneTunnelsRequest,
  report: TunnelReport,
): Promise<void> {
  const wanted = new Set<string>();
  for (const { host } of declared) wanted.add((await findTunnel(host))?.peer ?? host);
  for (const tunnel of readTunnels().tunnels) {
    const { file } = contentOf(unitsOfTunnel(tunnel.peer));
    if (wanted.has(tunnel.peer) || file === undefined || dirname(file) !== directory) continue;
    if (isThere(file) && !files.includes(file)) continue;
    if (faulty !== undefined) {
      report.note(
        `the tunnel to ${tunnel.peer} stays, although ${file} describes it no longer, since ${faulty} may: correct that first`,
      );
      continue;
    }
    report.tunnelDiffers({ peer: tunnel.peer, former: describe(tunnel), next: '' });
    if (dryRun) continue;
    try {
      const { left } = await deleteTunnel(tunnel.peer, { force: false });
      report.tunnelDeleted(tunnel.peer, file);
      if (left !== undefined)
        report.note(
          `the tunnel to ${tunnel.peer} is deleted here; its other side as soon as that machine can be told: ${left}`,
        );
    } catch (error) {
      report.failed({ path: file, line: 1, message: (error as Error).message });
    }
  }
}

/** The file that describes a tunnel. */
export function fileOfTunnel(tunnel: Tunnel): string {
  return describe(tunnel);
}

function describe({ peer, mode }: Tunnel): string {
  return tunnelText({ host: peer, mode, extra: contentOf({ service: tunnelUnit(peer) }).extra });
}
