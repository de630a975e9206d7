import type { ExtraLines } from './declaration.js';
import { SECTION } from './digest.js';
import { plainValue } from './escape.js';
import { parseFile } from './syntax.js';

/** The name of the drop-ins that `wormhole apply` writes. Those of `systemctl edit`, override.conf, count after them. */
export const DROP_IN = '50-wormhole-file.conf';

/** A drop-in of a unit; without a text, there is none. */
export interface DropIn {
  unit: string;
  text?: string;
}

/** Whether there is a drop-in. */
export function hasText(dropIn: DropIn): dropIn is Required<DropIn> {
  return dropIn.text !== undefined;
}

/** What the drop-ins of units say: the file that they come from, and its lines for them; or the label of a container. */
export interface DropInContent {
  file?: string;
  label?: string;
  extra: ExtraLines;
}

/** The units that the drop-ins belong to; a tunnel has no socket. The first of them names the file. */
export interface DropInUnits {
  socket?: string;
  service: string;
}

/** The drop-ins of a link or of a tunnel. @throws Error when the path of the file cannot stand in a unit */
export function renderDropIns(units: DropInUnits, { file, label, extra }: DropInContent): DropIn[] {
  const { socket, service } = units;
  const own = (isFirst: boolean): [string, string[]][] => [
    ['Unit', extra.Unit],
    [
      SECTION,
      [
        ...(isFirst && file !== undefined ? [`File=${plainValue(file)}`] : []),
        ...(isFirst && label !== undefined ? [`Label=${plainValue(label)}`] : []),
      ],
    ],
  ];
  return [
    ...(socket === undefined ? [] : [render(socket, [...own(true), ['Socket', extra.Socket]])]),
    render(service, [...own(socket === undefined), ['Service', extra.Service]]),
  ];
}

function render(unit: string, sections: [string, string[]][]): DropIn {
  const present = sections.filter(([, lines]) => lines.length > 0);
  if (present.length === 0) return { unit };
  const text = present.map(([name, lines]) => `[${name}]\n${lines.join('\n')}\n`).join('\n');
  return {
    unit,
    text: `# Written by wormhole apply, and removed with the unit. Change the file that is named here, or use systemctl edit.\n${text}`,
  };
}

/** Reads back what {@link renderDropIns} wrote; `texts` are those of the socket and of the service, as far as there are any. */
export function readDropIns(texts: {
  socket?: string | undefined;
  service?: string | undefined;
}): DropInContent {
  const [socket, service] = [texts.socket ?? '', texts.service ?? ''].map((text) => parseFile(text).settings);
  const all = [...(socket ?? []), ...(service ?? [])];
  const noted = (name: string) => all.find(({ section, key }) => section === SECTION && key === name)?.value;
  const [file, label] = [noted('File'), noted('Label')];
  const lines = (settings: typeof socket, name: string) =>
    (settings ?? []).filter(({ section }) => section === name).map(({ key, value }) => `${key}=${value}`);
  return {
    ...(file !== undefined && { file }),
    ...(label !== undefined && { label }),
    extra: {
      Unit: lines(texts.service === undefined ? socket : service, 'Unit'),
      Socket: lines(socket, 'Socket'),
      Service: lines(service, 'Service'),
    },
  };
}
