import { dirname } from 'node:path';
import { readLinks } from '../../state/links.js';
import { withLock } from '../../state/lock.js';
import { isThere } from '../../system/files.js';
import { withSystemd } from '../../systemd/systemd.js';
import type { DeclaredLink } from '../../units/declaration.js';
import { deleteLinks } from '../delete.js';
import { removeUnfinished } from '../unfinished.js';
import type { ApplyReport } from './apply.js';
import { contentOf, unitsOfLink } from './drop-ins.js';
import { describeLink } from './existing.js';
import { comparableTexts } from './text.js';

/** Which links are deleted. */
export interface PruneRequest {
  /** The links that files describe. */
  links: DeclaredLink[];
  /** The directory of these files. */
  directory: string;
  /** The files that were read without a fault, and one that has a fault. */
  files: string[];
  faulty?: string | undefined;
  /** Only tell what would happen. */
  dryRun: boolean;
}

/**
 * Deletes the links that were made from files of a directory which are gone, and says which links are in no file. Do it before tunnels and
 * links are applied: what these links use is free then.
 *
 * @returns the ids of the links that are deleted, or would be
 */
export async function pruneLinks(
  { links: declared, directory, files, faulty, dryRun }: PruneRequest,
  report: ApplyReport,
): Promise<string[]> {
  if (!dryRun) await withSystemd((systemd) => withLock('links', () => removeUnfinished(systemd)));
  const wanted = new Set(declared.map(({ id }) => id));
  const roots = readLinks().links.filter(({ parent, owner }) => parent === undefined && owner === undefined);
  const orphans = new Map<string, string>();
  for (const root of roots) {
    if (wanted.has(root.id)) continue;
    const content = contentOf(unitsOfLink(root.id));
    const { file, label } = content;
    if (label !== undefined) continue;
    if (file === undefined) {
      report.note(
        `link "${root.id}" is in no file, and stays: wormhole export ${root.id} writes its file, wormhole delete ${root.id} deletes it`,
      );
    } else if (dirname(file) === directory && (!isThere(file) || files.includes(file))) {
      if (faulty !== undefined) {
        report.note(
          `link "${root.id}" is kept: ${file} no longer describes it, but ${faulty} has an error and may. Correct that first`,
        );
        continue;
      }
      // A file that is there without a fault describes another link now.
      orphans.set(root.id, file);
      const former = comparableTexts(undefined, describeLink(root), root.id).next;
      report.differs({ id: root.id, former, next: '' });
    }
  }
  const ids = [...orphans.keys()];
  if (dryRun || ids.length === 0) return ids;
  const gone: string[] = [];
  for (const { id, failure, left } of await deleteLinks(ids, { mentionFiles: false })) {
    const file = orphans.get(id) ?? '';
    for (const line of left) report.note(line);
    if (failure) report.failed({ path: file, line: 1, message: failure.message });
    else {
      gone.push(id);
      report.deleted(id, file);
    }
  }
  return gone;
}
