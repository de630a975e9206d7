import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { createOnce, makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import { stateDirectory } from './directory.js';

/*
 * What this machine knows of the identities of others. It is state of its own, since it has to outlast the links and tunnels
 * with those machines: by it a machine is recognized that has been asked before, and one that is not to come back.
 */

/** One file for each name by which a machine is called here. It holds the id of the machine that has answered first. */
const peersDirectory = () => `${stateDirectory()}/peers`;

/** One file for each machine that this one refuses, called after its id. It holds the names that it had, for people. */
const refusedDirectory = () => `${stateDirectory()}/refused`;

/** Whether a text is the id of a machine. */
export function isMachineId(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text);
}

/** The id of the machine that is called so here; undefined when none has answered to that name yet. @throws Error */
export function pinnedId(name: string): string | undefined {
  const text = readIfExists(fileOf(name))?.trim();
  if (text === undefined || isMachineId(text)) return text;
  throw new Error(`${fileOf(name)} does not hold the id of a machine: restore it, or remove it`);
}

/**
 * Records which machine answers to a name, unless that is recorded already.
 *
 * @returns the id that is recorded now
 */
export function pin(name: string, id: string): string {
  makeDirectory(peersDirectory());
  createOnce(fileOf(name), `${id}\n`);
  return pinnedId(name) ?? id;
}

/** Records that another machine answers to a name from now on. */
export function repin(name: string, id: string): void {
  makeDirectory(peersDirectory());
  writeAtomically(fileOf(name), `${id}\n`);
}

/** The names of all machines that have been asked, and their ids. */
export function pinnedPeers(): { name: string; id: string }[] {
  return filesOf(peersDirectory()).flatMap((name) => {
    const id = pinnedId(name);
    return id === undefined ? [] : { name, id };
  });
}

/** Records that a machine is refused. @param names what it was called here */
export function refuse(id: string, names: string[]): void {
  makeDirectory(refusedDirectory());
  writeAtomically(`${refusedDirectory()}/${id}`, `${names.join(' ')}\n`);
}

/** Records that a machine is not refused any more. False when it was not. */
export function allow(id: string): boolean {
  const was = isRefused(id);
  rmSync(`${refusedDirectory()}/${id}`, { force: true });
  return was;
}

/** Whether a machine is refused. @throws the error of stat(2) when that cannot be determined */
export function isRefused(id: string): boolean {
  return statSync(`${refusedDirectory()}/${id}`, { throwIfNoEntry: false }) !== undefined;
}

/** The machines that are refused, and the names that they had here. */
export function refusedPeers(): { id: string; names: string[] }[] {
  return filesOf(refusedDirectory()).map((id) => ({
    id,
    names: (readIfExists(`${refusedDirectory()}/${id}`) ?? '').split(/\s+/).filter((name) => name !== ''),
  }));
}

function fileOf(name: string): string {
  return `${peersDirectory()}/${name}`;
}

function filesOf(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).filter((name) => !name.startsWith('.')) : [];
}
