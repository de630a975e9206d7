import { isDeepStrictEqual } from 'node:util';
import { readDropIn } from '../../systemd/drop-ins.js';
import type { Declaration } from '../../units/declaration.js';
import {
  DROP_IN,
  type DropInContent,
  type DropInUnits,
  readDropIns,
  renderDropIns,
} from '../../units/declared-drop-ins.js';
import { serviceUnit, socketUnit } from '../../units/names.js';
import { tunnelUnit } from '../../units/tunnel.js';
import type { DropInChange } from '../change.js';

/** The units of a link that drop-ins of files belong to. */
export function unitsOfLink(id: string): Required<DropInUnits> {
  return { socket: socketUnit(id), service: serviceUnit(id) };
}

/** The unit of a tunnel, likewise. */
export function unitsOfTunnel(peer: string): DropInUnits {
  return { service: tunnelUnit(peer) };
}

/** What a file has added to units that exist, and which file it was. */
export function contentOf({ socket, service }: DropInUnits): DropInContent {
  return readDropIns({
    ...(socket !== undefined && { socket: readDropIn(socket, DROP_IN) }),
    service: readDropIn(service, DROP_IN),
  });
}

/**
 * What a declaration changes in the drop-ins of units; undefined when it is nothing. What was read from standard input leaves the
 * name of the file that is noted there. A label is noted in its place, and a file in that of a label.
 */
export function dropInChange(
  units: DropInUnits,
  { file, label, extra }: Declaration,
  id?: string,
): DropInChange | undefined {
  const former = contentOf(units);
  const noted = label === undefined ? (file ?? former.file) : undefined;
  const dropIns = renderDropIns(units, {
    extra,
    ...(noted !== undefined && { file: noted }),
    ...(label !== undefined && { label }),
  });
  if (dropIns.every(({ unit, text }) => readDropIn(unit, DROP_IN) === text)) return undefined;
  return {
    dropIns,
    close: id === undefined || isDeepStrictEqual(extra.Socket, former.extra.Socket) ? [] : [id],
    restart: isDeepStrictEqual(extra.Service, former.extra.Service) ? [] : [units.service],
  };
}
