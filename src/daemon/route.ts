import type { Caller } from './caller.js';

/** What a request is answered with: no body for 204. `logged` is the result in words, for the journal. */
export interface Answer {
  status: number;
  body?: unknown;
  logged?: string;
  /** The link that was created. */
  link?: string;
}

/** A request that has been read and checked. */
export interface Task {
  /** What it changes, in words, for the journal; absent when it changes nothing. */
  change?: string;
  /** The link that it changes, for the journal; absent when that is not known yet, or it changes none. */
  link?: string;
  run(caller: Caller): Promise<Answer>;
}

/** What the API has at a path, for one method. */
export interface Route {
  /** Whether its requests have a body, or may have one. */
  takesBody: boolean | 'optional';
  /** Reads and checks a request. @throws Failure with code usage */
  read(body: unknown): Task;
}

/** The routes of one path, by method. */
export type Routes = Record<string, Route>;

/** A route that answers with what `body` returns, and changes nothing. */
export function getRoute(body: (caller: Caller) => unknown): Route {
  return {
    takesBody: false,
    read: () => ({ run: async (caller) => ({ status: 200, body: await body(caller) }) }),
  };
}
