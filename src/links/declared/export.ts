import { readLinks } from '../../state/links.js';
import { readTunnels } from '../../state/tunnels.js';
import { otherDropIns } from '../../systemd/drop-ins.js';
import { DROP_IN } from '../../units/declared-drop-ins.js';
import { serviceUnit, socketUnit } from '../../units/names.js';
import { IsChild, NoSuchLink } from '../delete.js';
import { Irreplaceable } from '../replace.js';
import { fileOfTunnel } from './apply-tunnels.js';
import { contentOf, unitsOfLink } from './drop-ins.js';
import { fileOfLink } from './existing.js';

/** A file that describes a link or a tunnel. */
export interface ExportedFile {
  /** Its name without the ending. */
  name: string;
  text: string;
}

/** Files, and what is not in them, a line each, for people. */
export interface Export {
  files: ExportedFile[];
  left: string[];
}

/**
 * The files that describe links, as `wormhole apply` reads them: those of these ids, or of all links and of all tunnels that somebody
 * has asked for.
 *
 * @throws NoSuchLink, IsChild, Irreplaceable
 */
export function exportLinks(ids?: string[]): Export {
  const { links, unreadable } = readLinks();
  const found: Export = { files: [], left: [] };
  for (const id of ids ?? links.map((link) => link.id)) {
    const link = links.find((one) => one.id === id);
    const broken = unreadable.find((one) => one.id === id);
    if (broken) throw new Irreplaceable(`link "${id}" cannot be read: ${broken.reason}`);
    if (!link) throw new NoSuchLink(`no link "${id}": see wormhole list`);
    if (link.parent !== undefined || link.owner) {
      if (!ids) continue;
      if (link.owner)
        throw new Irreplaceable(
          `link "${id}" is a part of link "${link.owner.id}" on machine ${link.owner.machine}: export that one`,
        );
      throw new IsChild(`link "${id}" is a part of link "${link.root}": export that one`);
    }
    const { label } = contentOf(unitsOfLink(id));
    if (label !== undefined && !ids) {
      found.left.push(`link "${id}" is in no file: a label of a container describes it, ${label}`);
      continue;
    }
    found.files.push({ name: id, text: fileOfLink(link) });
    found.left.push(
      ...[socketUnit(id), serviceUnit(id)]
        .flatMap((unit) => otherDropIns(unit, DROP_IN))
        .map((path) => `link "${id}": its drop-in ${path} is not in the file`),
    );
  }
  if (ids) return found;
  found.left.push(
    ...unreadable.map(({ id, reason }) => `link "${id}" cannot be read, and has no file: ${reason}`),
  );
  for (const tunnel of readTunnels().tunnels.filter(({ asked }) => asked)) {
    const name = freeName(`tunnel-${tunnel.peer.replace(/[^A-Za-z0-9_.-]/g, '_')}`, found.files);
    found.files.push({ name, text: fileOfTunnel(tunnel) });
  }
  return found;
}

/** A name for a further file: a link may have the id that a tunnel's is called by, and two machines one in letters that files have. */
export function freeName(name: string, files: readonly Pick<ExportedFile, 'name'>[]): string {
  let free = name;
  for (let n = 2; files.some((file) => file.name === free); n++) free = `${name}-${n}`;
  return free;
}
