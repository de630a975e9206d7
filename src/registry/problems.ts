import { rmSync } from 'node:fs';
import { makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import { linkDirectory } from '../units/names.js';

/**
 * Records why a service of a link cannot be looked up now, until the next boot: it is reported once.
 *
 * @param problem undefined when it can be looked up
 * @returns whether there is a problem, and another one than the last time
 */
export function noteProblem(link: string, service: string, problem: string | undefined): boolean {
  const path = `${linkDirectory(link)}/service-${service}`;
  if (problem === undefined) {
    rmSync(path, { force: true });
    return false;
  }
  if (readIfExists(path) === problem) return false;
  makeDirectory(linkDirectory(link));
  writeAtomically(path, problem);
  return true;
}
