import { closeSync, fchmodSync, openSync, readSync, rmSync } from 'node:fs';
import os from 'node:os';
import { makeDirectory } from '../system/files.js';
import { COUNTERS_DIR, countersFile } from '../units/names.js';

/** What the forwarder of a link has counted since the boot. */
export interface Counters {
  /** Open sessions; the figure means nothing while no forwarder runs. */
  open: number;
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
  /** Sessions that a client, or the target, has ended with a reset. */
  resetsByClient: number;
  resetsByTarget: number;
  /** Clients that had to wait for the target, and how long all of them did, ms. */
  held: number;
  heldMs: number;
  /** Present while the target does not accept: clients closed since it last did, the time of the first one, and why. */
  failing?: Failing;
}

/** Clients that a link has closed in a row. `since` is the time of the first one, ms since 1970. */
export interface Failing {
  count: number;
  since: number;
  reason: string;
}

/** The layout of the file: see src/forwarder/counters.ts, which writes it. */
const FORMAT = 'wormhole counters 1';
const FIGURES_AT = 1024;
const TEXTS_AT = 3072;
const TEXT_SIZE = 512;
const SIZE = 4096;

/**
 * Reads what the forwarder of a link has counted, at this moment. A name that the file does not have counts as 0.
 *
 * @returns undefined when the link has had no client since the boot, or the file has another format
 */
export function readCounters(id: string): Counters | undefined {
  const file = readFile(countersFile(id));
  const [format, names = '', texts = ''] = file?.toString('latin1', 0, FIGURES_AT).split('\n') ?? [];
  if (file === undefined || format !== FORMAT) return undefined;
  const figures = new Map(names.split(' ').map((name, index) => [name, readFigure(file, index)]));
  const figure = (name: string): number => figures.get(name) ?? 0;
  const reason = readText(file, texts.split(' ').indexOf('failure'));
  const failing = { count: figure('failing'), since: figure('failingSince'), reason };
  return {
    open: figure('open'),
    limit: figure('limit'),
    served: figure('served'),
    unserved: figure('unserved'),
    denied: figure('denied'),
    refused: figure('refused'),
    timedOut: figure('timedOut'),
    bytesFromClients: figure('bytesFromClients'),
    bytesFromTarget: figure('bytesFromTarget'),
    resetsByClient: figure('resetsByClient'),
    resetsByTarget: figure('resetsByTarget'),
    held: figure('held'),
    heldMs: figure('heldMs'),
    ...(failing.count > 0 && { failing }),
  };
}

/** The file, and no more than a forwarder writes that is not hostile. */
function readFile(path: string): Buffer | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const bytes = Buffer.alloc(SIZE);
    return bytes.subarray(0, readSync(fd, bytes, 0, SIZE, 0));
  } finally {
    closeSync(fd);
  }
}

/** The forwarder sees the clients, and is not trusted: whatever it writes is a number here, and words. */
function readFigure(file: Buffer, index: number): number {
  const at = FIGURES_AT + 8 * index;
  if (at + 8 > Math.min(file.length, TEXTS_AT)) return 0;
  const value = os.endianness() === 'LE' ? file.readDoubleLE(at) : file.readDoubleBE(at);
  return value >= 0 && value <= Number.MAX_SAFE_INTEGER ? value : 0;
}

function readText(file: Buffer, index: number): string {
  if (index < 0) return '';
  const at = TEXTS_AT + TEXT_SIZE * index;
  const [text = ''] = file.toString('utf8', at, at + TEXT_SIZE).split('\0');
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '');
}

/** Creates the file that systemd opens for the forwarder of a link, readable for everyone. It may exist. */
export function createCounters(id: string): void {
  makeDirectory(COUNTERS_DIR);
  const fd = openSync(countersFile(id), 'a', 0o600);
  // Whatever the umask is.
  fchmodSync(fd, 0o644);
  closeSync(fd);
}

/** Forgets what the forwarder of a link has counted. */
export function removeCounters(id: string): void {
  rmSync(countersFile(id), { force: true });
}
