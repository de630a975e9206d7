/**
 * What went wrong, for programs:
 *
 * - `usage`: the request makes no sense, whatever the state of the machine
 * - `not-found`: there is no such link, or no such path of the API
 * - `taken`: an id or a head belongs to another link
 * - `busy`: the daemon has too much to do; the same request may work later
 * - `failed`: everything else, such as a container that does not run
 */
export type FailureCode = 'usage' | 'not-found' | 'taken' | 'busy' | 'failed';

/** The HTTP status of each code, unless a more fitting one is given. */
const STATUS: Record<FailureCode, number> = {
  usage: 400,
  'not-found': 404,
  taken: 409,
  busy: 503,
  failed: 500,
};

/** A request that failed: `message` is one line for people, the same that the command line prints on that machine. */
export class Failure extends Error {
  constructor(
    readonly code: FailureCode,
    message: string,
    readonly status: number = STATUS[code],
  ) {
    super(message.replace(/\s*\n\s*/g, ' / '));
  }
}

/** Whether a text is one of the codes; another version of the daemon may have more. */
export function isFailureCode(text: unknown): text is FailureCode {
  return typeof text === 'string' && Object.hasOwn(STATUS, text);
}
