import { type Word, wrongWord } from './error.js';
import { parsePeer } from './names.js';
import type { Recipe, RecipeTail } from './recipe.js';
import { MOST_WEIGHT } from './tails.js';

/** A machine that publishes a service. One that is `leaving` did so until lately, and has open sessions. */
export interface ServiceMachine {
  host: string;
  weight?: number;
  leaving?: true;
}

/** A service as a recipe names it; only that of a unit has its machines, `service:db@10.0.0.1,10.0.0.2*3,-10.0.0.4`. */
export interface Service {
  name: string;
  machines?: ServiceMachine[];
}

const PREFIX = 'service:';

/** Whether a word names a service in the place of a machine. */
export function isService(text: string): boolean {
  return text.startsWith(PREFIX);
}

/** What stands for the machines of a service until they are looked up. */
export function openPeer(name: string): string {
  return `${PREFIX}${name}`;
}

/**
 * Whether a text can be the name of a service: up to 200 letters, digits, `_`, `.` and `-`, of which a letter, digit or `_` is the
 * first one. `_pg._tcp.example.com` is one.
 */
export function isServiceName(text: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$/.test(text);
}

/** Reads `service:NAME`. @throws RecipeError about `word` */
export function parseService(word: Word): Service {
  const [, name = '', list] = /^service:([^@]*)(?:@(.*))?$/s.exec(word.text) ?? [];
  if (!isServiceName(name))
    throw wrongWord(word, 'the name of a service is letters, digits, "_", "." and "-", as in service:db');
  if (list === undefined) return { name };
  return { name, machines: list.split(',').map((text) => parseMachine(text, word)) };
}

/** The opposite of {@link parseService}. */
export function formatService({ name, machines = [] }: Service): string {
  const texts = machines.map(
    ({ host, weight, leaving }) => `${leaving ? '-' : ''}${host}${weight === undefined ? '' : `*${weight}`}`,
  );
  return `${PREFIX}${name}${texts.length > 0 ? `@${texts.join(',')}` : ''}`;
}

function parseMachine(text: string, { position }: Word): ServiceMachine {
  const [, leaving, host = '', number] = /^(-?)([^*]*)(?:\*(\d+))?$/.exec(text) ?? [];
  const machine: ServiceMachine = { host: parsePeer({ text: host, position }) };
  const weight = Number(number ?? 1);
  if (weight < 1 || weight > MOST_WEIGHT)
    throw wrongWord({ text, position }, `a weight is a whole number from 1 to ${MOST_WEIGHT}`);
  if (weight !== 1) machine.weight = weight;
  if (leaving) machine.leaving = true;
  return machine;
}

/** Whether the machines of a tail have yet to be looked up. */
export function isOpenService({ child }: RecipeTail): boolean {
  return child?.service !== undefined && child.peer === openPeer(child.service);
}

/** The names of the services that a link leads to. */
export function servicesOf({ tails = [] }: Pick<Recipe, 'tails'>): string[] {
  return [...new Set(tails.flatMap(({ child }) => child?.service ?? []))];
}

/** The machines of a service that a link has. None while they are yet to be looked up. */
export function machinesOf(tails: RecipeTail[], name: string): ServiceMachine[] {
  return tails.flatMap((tail) => {
    if (tail.child?.service !== name || isOpenService(tail)) return [];
    const { child, weight, leaving } = tail;
    return { host: child.peer, ...(weight !== undefined && { weight }), ...(leaving && { leaving }) };
  });
}

/** A tail for each of the machines of a service. @param open that of the service */
export function tailsOfMachines(open: RecipeTail, machines: ServiceMachine[]): RecipeTail[] {
  const { child, trigger } = open;
  if (!child) throw new Error('a service is on other machines');
  return machines.map(({ host, weight, leaving }) => ({
    trigger,
    child: { ...child, peer: host },
    ...(weight !== undefined && weight !== 1 && { weight }),
    ...(leaving && { leaving }),
  }));
}

/** A recipe in which services stand for their machines again. */
export function withOpenServices(recipe: Recipe): Recipe {
  const { tails } = recipe;
  if (!tails) return recipe;
  const seen = new Set<string>();
  const open = tails.flatMap((tail): RecipeTail[] => {
    const { child, trigger } = tail;
    if (child?.service === undefined) return [tail];
    if (seen.has(child.service)) return [];
    seen.add(child.service);
    const { port: _, ...rest } = child;
    return [{ trigger, child: { ...rest, peer: openPeer(child.service) } }];
  });
  return { ...recipe, tails: open };
}

/** A recipe with a tail for each machine of its services. @param machines those of each name */
export function withMachines(recipe: Recipe, machines: ReadonlyMap<string, ServiceMachine[]>): Recipe {
  const { tails } = recipe;
  if (!tails) return recipe;
  const done = tails.flatMap((tail) =>
    isOpenService(tail) ? tailsOfMachines(tail, machines.get(tail.child?.service ?? '') ?? []) : [tail],
  );
  return { ...recipe, tails: done };
}

/** The machines of a service that a link had, and that the next list has no more: those that are to stay until their sessions end. */
export function departed(former: ServiceMachine[], next: ServiceMachine[]): ServiceMachine[] {
  return former.filter(({ host }) => !next.some((machine) => machine.host === host));
}
