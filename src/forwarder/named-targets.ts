import { type Address, parseAddress } from './address.js';

/*
 * The addresses of a target that the link knows by its name. A helper outside the sandbox looks the name up; see name-file.ts for what
 * it tells.
 */

/** The addresses that a name has, in the order in which they are tried. */
export interface NamedTargets {
  /** The name and the port, for log messages: "db.example.com:5432". */
  readonly name: string;
  /** Empty while no address is known. */
  list: readonly Address[];
  /** When the name has to be looked up again, ms, on the clock of performance.now(). */
  expiresAt: number;
  /** Why the last lookup has failed; undefined if it has not. */
  problem: string | undefined;
  /** Until when clients wait for the lookup that goes on, ms, on the same clock; -Infinity if none does. */
  waitUntil: number;
  /** The addresses that have failed while others may work, and until when they are tried last, ms, on the same clock. */
  readonly avoided: Map<string, number>;
}

/** How long an address that has failed is tried after all others, ms. */
const AVOID_MS = 60_000;

/** How long a client waits for a lookup before it uses the addresses that were known before, ms. The helper takes 3 s at most. */
const LOOKUP_WAIT_MS = 3500;

/** How many addresses are kept as the kernel wants them. That memory is never freed, so each address is parsed once. */
const MOST_PARSED = 1024;

/** A name whose addresses are not known yet. */
export function createNamedTargets(name: string): NamedTargets {
  return {
    name,
    list: [],
    expiresAt: Number.NEGATIVE_INFINITY,
    problem: undefined,
    waitUntil: Number.NEGATIVE_INFINITY,
    avoided: new Map(),
  };
}

const parsed = new Map<string, Address>();

/** As parseAddress(), for addresses that are read again and again. */
export function parseOnce(text: string): Address {
  const known = parsed.get(text);
  if (known !== undefined) return known;
  if (parsed.size >= MOST_PARSED) parsed.clear();
  const address = parseAddress(text);
  parsed.set(text, address);
  return address;
}

/** Sets the addresses of a name. Those that have failed lately go last; the others keep their order. */
export function setList(named: NamedTargets, list: readonly Address[], now: number): void {
  for (const [text, until] of named.avoided) if (until <= now) named.avoided.delete(text);
  const isAvoided = ({ text }: Address) => named.avoided.has(text);
  named.list = [...list.filter((one) => !isAvoided(one)), ...list.filter(isAvoided)];
}

/** Notes that an address has failed. It is tried last for a minute, also by the clients that are yet to come. */
export function avoid(named: NamedTargets, { text }: Address, now: number): void {
  named.avoided.delete(text);
  named.avoided.set(text, now + AVOID_MS);
}

/** Whether an address is one that has failed lately. */
export function isAvoided({ avoided }: NamedTargets, { text }: Address): boolean {
  return avoided.has(text);
}

/**
 * Whether a client has to wait until the name is looked up: the addresses are older than their TTL, and `refresh` has had that
 * requested. A client does not wait if the last lookup has failed: it uses the addresses that were known before.
 *
 * @param refresh requests a lookup; returns whether one goes on
 */
export function mustWait(named: NamedTargets, now: number, refresh: () => boolean): boolean {
  if (now < named.expiresAt || !refresh()) return false;
  if (named.problem !== undefined && named.list.length > 0) return false;
  if (named.waitUntil === Number.NEGATIVE_INFINITY) named.waitUntil = now + LOOKUP_WAIT_MS;
  return now < named.waitUntil;
}

/** "db.example.com:5432 (10.0.0.1 and fd00::1)"; without addresses, the name alone. */
export function describeName({ name, list }: NamedTargets): string {
  const hosts = list.map(({ text }) => text.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''));
  return hosts.length === 0 ? name : `${name} (${hosts.join(' and ')})`;
}
