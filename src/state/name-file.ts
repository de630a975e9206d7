import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { printable } from '../text/printable.js';
import { nameFile } from '../units/names.js';

/**
 * What is known of the name of a link's tail, written with its port, "db.example.com:5432": its addresses with the port, in the order in which they are to be tried, until when
 * they are valid, ms on CLOCK_MONOTONIC, and why the last lookup has failed.
 */
export interface KnownName {
  name: string;
  addresses: string[];
  until: number;
  problem?: string;
}

/** The layout of the file: see src/forwarder/name-file.ts, which reads it too. */
const FORMAT = 'wormhole name 1';
const SIZE = 4096;

/** Room for a problem, bytes: the addresses and the rest take 1,000 at most. */
const LONGEST_PROBLEM = 1024;

/**
 * Writes it over what is in an open file, in one piece: who reads meanwhile sees the former or the new one, or no end of it.
 *
 * @param fd is open for writing
 */
export function writeKnownName(fd: number, { name, addresses, until, problem }: KnownName): void {
  const lines = [
    FORMAT,
    `name ${name}`,
    ...addresses.map((address) => `address ${address}`),
    `until ${Math.round(until)}`,
    ...(problem === undefined ? [] : [`problem ${inOneLine(problem)}`]),
    'end',
    '',
  ];
  const page = Buffer.alloc(SIZE);
  page.write(lines.join('\n'), 'utf8');
  writeSync(fd, page, 0, SIZE, 0);
}

/** What is in such a file about a name; undefined when nothing is yet. The service that writes it hears strangers: whatever it says is text here. */
export function readKnownName(fd: number, name: string): KnownName | undefined {
  const page = Buffer.alloc(SIZE);
  const [text = ''] = page.toString('utf8', 0, readSync(fd, page, 0, SIZE, 0)).split('\0');
  const [format, ...lines] = text.split('\n').map((line) => printable(line));
  if (format !== FORMAT || !lines.includes('end') || !lines.includes(`name ${name}`)) return undefined;
  const values = (word: string) =>
    lines.flatMap((line) => (line.startsWith(`${word} `) ? line.slice(word.length + 1) : []));
  const [problem] = values('problem');
  return {
    name,
    addresses: values('address'),
    until: Number(values('until')[0]) || 0,
    ...(problem !== undefined && { problem }),
  };
}

/** What is known of the name of the tail of a link; undefined when it has not been looked up since the boot. */
export function knownNameOf(id: string, name: string): KnownName | undefined {
  let fd: number;
  try {
    fd = openSync(nameFile(id), 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return readKnownName(fd, name);
  } finally {
    closeSync(fd);
  }
}

function inOneLine(text: string): string {
  return printable(text.replace(/\s+/g, ' ')).slice(0, LONGEST_PROBLEM / 4);
}
