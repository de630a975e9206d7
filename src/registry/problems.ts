import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import { linkDirectory } from '../units/names.js';

/** Where it is noted why this machine could not say in etcd what it publishes. */
const REGISTRATION_PROBLEM = '/run/wormhole/registration-problem';

/**
 * Records why a service of a link cannot be looked up now, until the next boot: it is reported once.
 *
 * @param problem undefined when it can be looked up
 * @returns whether there is a problem, and another one than the last time
 */
export function noteProblem(link: string, service: string, problem: string | undefined): boolean {
  return note(`${linkDirectory(link)}/service-${service}`, problem);
}

/** As {@link noteProblem}, of a link that cannot be changed to lead to the machines that its services are at now. */
export function noteRefreshProblem(link: string, problem: string | undefined): boolean {
  return note(`${linkDirectory(link)}/refresh`, problem);
}

/** As {@link noteProblem}, of what this machine says in etcd. */
export function noteRegistrationProblem(problem: string | undefined): boolean {
  return note(REGISTRATION_PROBLEM, problem);
}

/** As {@link noteProblem}, in a file. */
export function note(path: string, problem: string | undefined): boolean {
  if (problem === undefined) {
    rmSync(path, { force: true });
    return false;
  }
  if (readIfExists(path) === problem) return false;
  makeDirectory(dirname(path));
  writeAtomically(path, problem);
  return true;
}
