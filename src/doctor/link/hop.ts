/**
 * What is known of one hop of a link: `ok`, `broken`, `asleep` until a connection comes, or `unknown`, where a probe would do more
 * than look.
 */
export interface Hop {
  /** The id of the link that it belongs to. */
  link: string;
  state: 'ok' | 'broken' | 'asleep' | 'unknown';
  /** What it is and how it is, for people. */
  text: string;
  /** What to do, of one that is broken. */
  advice?: string;
}

/** Whether what follows a hop can be looked at. */
export function goesOn(hops: Hop[]): boolean {
  return hops.every(({ state }) => state === 'ok');
}
