import Handlebars from 'handlebars';
import { address, describePlace } from '../recipe/describe.js';
import { type End, type Link, tailOf } from '../recipe/link.js';
import { recipeText } from '../recipe/text.js';
import { escapeSpecifiers, quoteArgument } from './escape.js';
import { netnsPath, netnsUnit, serviceUnit, socketUnit } from './names.js';

/** A link that has an id and a head with a port, and so can be written as units. `parent` is the id it hangs on. */
export interface NamedLink {
  id: string;
  parent?: string;
  link: Link;
}

/** One unit file: the unit's name and the whole text. */
export interface UnitFile {
  name: string;
  text: string;
}

/** Where the installed program is. `flags` are the options that node needs to run the forwarder. */
export interface Installation {
  node: string;
  forwarder: string;
  flags: string[];
}

/** Renders one link's values to the text of a unit. */
export type Template = (values: Record<string, unknown>) => string;

/** The templates of the two units that every link has. */
export interface Templates {
  socket: Template;
  service: Template;
}

/** Compiles the Handlebars sources of templates/link.socket.hbs and templates/link.service.hbs. */
export function compileTemplates(sources: { socket: string; service: string }): Templates {
  const handlebars = Handlebars.create();
  handlebars.registerHelper('specifiers', escapeSpecifiers);
  handlebars.registerHelper('argument', quoteArgument);
  const compile = (source: string): Template =>
    handlebars.compile(source, { noEscape: true, strict: true, knownHelpersOnly: false });
  return { socket: compile(sources.socket), service: compile(sources.service) };
}

/** A link and, one after the other, the children that it creates on this machine, the parent first. */
export function flatten(link: Link, parent?: string): NamedLink[] {
  if (link.id === undefined) throw new Error('a link without an id has no units');
  const named: NamedLink = parent === undefined ? { id: link.id, link } : { id: link.id, parent, link };
  const local = link.child !== undefined && link.child.peer === undefined;
  return local && link.child ? [named, ...flatten(link.child.link, link.id)] : [named];
}

/** Where an end is, in words: `127.0.0.1:3306 in container mysql`. */
export function describeEnd(end: End): string {
  const place = describePlace(end.place);
  return `${address(end)} ${end.place.kind === 'host' ? 'on' : 'in'} ${place}`;
}

/**
 * The unit files of one link: its socket, then its service.
 *
 * @throws Error when an end lacks its port, which is chosen before
 */
export function renderLink(
  { id, parent, link }: NamedLink,
  installation: Installation,
  templates: Templates,
): UnitFile[] {
  const { head } = link;
  const tail = tailOf(link);
  if (head.port === undefined || tail.port === undefined)
    throw new Error(`link ${id} has an end without a port`);
  const chained = link.child !== undefined && link.tail === undefined ? link.child.link.id : undefined;
  const values = {
    id,
    parent,
    recipe: recipeText(link),
    description: `Wormhole ${id}: ${describeEnd(head)}, to ${describeEnd(tail)}`,
    forwarderDescription: `Wormhole ${id}: forwarder to ${describeEnd(tail)}`,
    head: address(head),
    tail: address(tail),
    place: describePlace(tail.place),
    headNetnsUnit: netnsUnit(head.place),
    headNetnsPath: netnsPath(head.place),
    tailNetnsUnit: netnsUnit(tail.place),
    tailNetnsPath: netnsPath(tail.place),
    socket: socketUnit(id),
    childSocket: chained === undefined ? undefined : socketUnit(chained),
    freeBind: !isAlwaysThere(head.host ?? ''),
    wantedBy: head.place.kind === 'host' ? 'sockets.target' : 'multi-user.target',
    ...installation,
  };
  return [
    { name: socketUnit(id), text: templates.socket(values) },
    { name: serviceUnit(id), text: templates.service(values) },
  ];
}

function isAlwaysThere(host: string): boolean {
  return /^127\.|^0\.0\.0\.0$|^::1?$/.test(host);
}
