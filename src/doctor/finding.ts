import { Failure } from '../api/failure.js';

/** What is wrong with one thing of this machine. */
export interface Finding {
  /** The name of the check that has found it, such as `docker`. */
  check: string;
  /** The thing, as people call it: `link 3306`, `wormhole-3306.service`, `/etc/wormhole/key.secret`. */
  subject: string;
  /** What is wrong with it. */
  problem: string;
  /** What to do, a command if possible. */
  advice: string;
  /** Repairs it, where that is safe. Findings that one repair ends share it, so that it is carried out once. */
  repair?: Repair;
}

/** Repairs what findings are about. @returns what it has done, a line for people. @throws Error when it has not succeeded */
export type Repair = () => Promise<string>;

/** As {@link splitAdvice}, for an error of asking another machine: what that machine says gives no advice here. */
export function adviceOf(error: Error, otherwise: string): Pick<Finding, 'problem' | 'advice'> {
  const isTheirs = error instanceof Failure || error.cause instanceof Failure;
  return isTheirs ? { problem: error.message, advice: otherwise } : splitAdvice(error.message, otherwise);
}

/** Splits a message of the program, which ends with what to do behind the last `: `, into the problem and the advice. */
export function splitAdvice(message: string, otherwise: string): Pick<Finding, 'problem' | 'advice'> {
  const at = message.lastIndexOf(': ');
  return at === -1
    ? { problem: message, advice: otherwise }
    : { problem: message.slice(0, at), advice: message.slice(at + 2) };
}
