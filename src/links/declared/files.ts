import { readdirSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { readRootsFile, requireRootsAlone } from '../../system/roots-file.js';
import {
  type Declaration,
  FaultyFile,
  type FileFault,
  parseDeclaration,
  type Source,
} from '../../units/declaration.js';

/** Where the files of links and tunnels are. */
export const LINKS_DIR = '/etc/wormhole/links.d';

const ENDING = '.wormhole';

/** What files describe, and what is wrong with those that describe nothing. */
export interface Declarations {
  declarations: Declaration[];
  faults: FileFault[];
  /** The directory that was read, absolute; undefined when it was a file, or standard input. */
  directory?: string;
}

/**
 * Reads the files of a directory, or one file.
 *
 * @throws Error when there is no such file or directory, or others than root can change the directory
 */
export function readDeclarations(path: string): Declarations {
  const absolute = resolve(path);
  if (!statSync(absolute).isDirectory()) return collect([absolute]);
  requireRootsAlone(absolute);
  const names = readdirSync(absolute).filter((name) => name.endsWith(ENDING) && !name.startsWith('.'));
  return { ...collect(names.sort().map((name) => join(absolute, name))), directory: absolute };
}

/**
 * Reads what `wormhole export` prints: several files, each after a line `### NAME.wormhole`. A text without such a line is one file
 * without a name.
 */
export function readDeclarationStream(text: string): Declarations {
  const parts = text.split(/^### (?:.*\/)?([^/\n]+)\.wormhole[ \t]*\n/m);
  const found: Declarations = { declarations: [], faults: [] };
  const before = text.slice(0, parts[0]?.length ?? 0);
  let line = before.split('\n').length - 1;
  if (/\S/.test(before))
    add(found, () => parseDeclaration([{ path: '-', text: before }], { hostname: hostname() }));
  for (let at = 1; at < parts.length; at += 2) {
    const [name = '', own = ''] = parts.slice(at, at + 2);
    // Blank lines take the place of what stands before, so that lines are counted from the beginning of the stream.
    const source = { path: '-', text: '\n'.repeat(line + 1) + own };
    add(found, () => parseDeclaration([source], { name, hostname: hostname() }));
    line += 1 + own.split('\n').length - 1;
  }
  return withoutRivals(found);
}

function collect(paths: string[]): Declarations {
  const found: Declarations = { declarations: [], faults: [] };
  for (const path of paths)
    add(found, () => {
      const name = path.slice(path.lastIndexOf('/') + 1);
      const own = name.endsWith(ENDING) ? { name: name.slice(0, -ENDING.length) } : {};
      return parseDeclaration(readSources(path), { ...own, file: path, hostname: hostname() });
    });
  return withoutRivals(found);
}

function add(found: Declarations, read: () => Declaration): void {
  try {
    found.declarations.push(read());
  } catch (error) {
    if (!(error instanceof FaultyFile)) throw error;
    found.faults.push(...error.faults);
  }
}

/** Neither of two files that describe the same link or tunnel counts: nobody could tell which one is meant. */
function withoutRivals({ declarations, faults }: Declarations): Declarations {
  const subject = (one: Declaration) =>
    one.kind === 'link' ? `link "${one.id}"` : `the tunnel to ${one.host}`;
  const rivalOf = (one: Declaration) =>
    declarations.find((other) => other !== one && subject(other) === subject(one));
  const rivals = declarations.flatMap((one): FileFault[] => {
    const rival = rivalOf(one);
    if (!rival) return [];
    return [{ ...one.at, message: `${subject(one)} is described at ${rival.at.path}:${rival.at.line} too` }];
  });
  return {
    declarations: declarations.filter((one) => rivalOf(one) === undefined),
    faults: [...faults, ...rivals],
  };
}

/** A file, and those of the directory beside it. @throws FaultyFile when one of them cannot be used */
function readSources(path: string): Source[] {
  const directory = `${path}.d`;
  const parts = statSync(directory, { throwIfNoEntry: false })?.isDirectory() ? partsOf(path, directory) : [];
  return [path, ...parts].map(readSource);
}

function partsOf(path: string, directory: string): string[] {
  try {
    requireRootsAlone(directory);
    const names = readdirSync(directory).filter((name) => name.endsWith('.conf') && !name.startsWith('.'));
    return names.sort().map((name) => join(directory, name));
  } catch (error) {
    throw new FaultyFile([{ path, line: 1, message: (error as Error).message }]);
  }
}

/** Reads a file that acts as root. @throws FaultyFile when it cannot be read, or others than root can change it */
export function readSource(path: string): Source {
  return { path, text: readText(path) };
}

function readText(path: string): string {
  try {
    return readRootsFile(path);
  } catch (error) {
    throw new FaultyFile([{ path, line: 1, message: (error as Error).message }]);
  }
}
