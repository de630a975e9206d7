import { closeSync, fchmodSync, openSync } from 'node:fs';
import { makeDirectory } from '../system/files.js';
import { COUNTERS_DIR, countersFile } from '../units/names.js';
import { readCountersFile } from './counters-file.js';

/** What the forwarder of a link has counted since the link was created. */
export interface Counters {
  /** Open sessions; the figure means nothing while no forwarder runs. */
  open: number;
  /** When the forwarder ends if no client comes before, ms since 1970; 0 if it does not. Means nothing while sessions are open or no forwarder runs. */
  idleAt: number;
  /** The most sessions that may be open. */
  limit: number;
  /** Sessions that the target has accepted. */
  served: number;
  /** Clients that were closed because the target was not reached. */
  unserved: number;
  /** Clients that were closed because the link is not for them. */
  denied: number;
  /** Clients that were refused because of a limit of the link on its clients. */
  refused: number;
  /** Sessions that were reset because no byte had moved for --idle-timeout. */
  timedOut: number;
  bytesFromClients: number;
  bytesFromTarget: number;
  /** Datagrams and messages of unix sockets; connections have none. */
  datagramsFromClients: number;
  datagramsFromTarget: number;
  /** Sessions that a client, or the target, has ended with a reset. */
  resetsByClient: number;
  resetsByTarget: number;
  /** Clients that had to wait for the target, and how long all of them did, ms. */
  held: number;
  heldMs: number;
  /** How long successful attempts to connect to the target took, ms in all, and by their duration. */
  dialMs: number;
  dials: Dials[];
  /** Present while the target does not accept: clients closed since it last did, the time of the first one, and why. */
  failing?: Failing;
  /** When the last client was closed because the target was not reached, ms since 1970, and why; also if others were served since. */
  lastFailure?: { at: number; reason: string };
}

/** How many attempts to connect took up to `upToMs`, and more than the element before it says. The last one has no bound. */
export interface Dials {
  upToMs?: number;
  count: number;
}

/** Clients that a link has closed in a row. `since` is the time of the first one, ms since 1970. */
export interface Failing {
  count: number;
  since: number;
  reason: string;
}

/** What the figures are called by which attempts to connect are counted: `dial<=25`, `dial<=Infinity`. */
const DIAL = /^dial<=(\d+|Infinity)$/;

/**
 * Reads what the forwarder of a link has counted, at this moment. A name that the file does not have counts as 0.
 *
 * @returns undefined when the link has had no client yet, or the file has another format
 */
export function readCounters(id: string): Counters | undefined {
  const file = readCountersFile(countersFile(id));
  if (file === undefined) return undefined;
  const figure = (name: string): number => file.figures[name] ?? 0;
  const reason = file.texts.failure ?? '';
  const failing = { count: figure('failing'), since: figure('failingSince'), reason };
  const at = figure('failedAt');
  return {
    open: figure('open'),
    idleAt: figure('idleAt'),
    limit: figure('limit'),
    served: figure('served'),
    unserved: figure('unserved'),
    denied: figure('denied'),
    refused: figure('refused'),
    timedOut: figure('timedOut'),
    bytesFromClients: figure('bytesFromClients'),
    bytesFromTarget: figure('bytesFromTarget'),
    datagramsFromClients: figure('datagramsFromClients'),
    datagramsFromTarget: figure('datagramsFromTarget'),
    resetsByClient: figure('resetsByClient'),
    resetsByTarget: figure('resetsByTarget'),
    held: figure('held'),
    heldMs: figure('heldMs'),
    dialMs: figure('dialMs'),
    dials: dialsOf(file.figures),
    ...(failing.count > 0 && { failing }),
    ...(at > 0 && { lastFailure: { at, reason } }),
  };
}

/** The descriptor at which the forwarder of a link has its notes about sessions; 0 if it has none. */
export function readNotesDescriptor(id: string): number {
  const descriptor = readCountersFile(countersFile(id))?.figures.notes ?? 0;
  return Number.isInteger(descriptor) && descriptor < 2 ** 31 ? descriptor : 0;
}

function dialsOf(figures: Record<string, number>): Dials[] {
  return Object.entries(figures)
    .flatMap(([name, count]) => {
      const bound = DIAL.exec(name)?.[1];
      return bound === undefined ? [] : [{ bound: Number(bound), count }];
    })
    .sort((one, other) => one.bound - other.bound)
    .map(({ bound, count }) => ({ ...(Number.isFinite(bound) && { upToMs: bound }), count }));
}

/** Creates the file that systemd opens for the forwarder of a link, readable for everyone. It may exist. */
export function createCounters(id: string): void {
  makeDirectory(COUNTERS_DIR);
  const fd = openSync(countersFile(id), 'a', 0o600);
  // Whatever the umask is.
  fchmodSync(fd, 0o644);
  closeSync(fd);
}
