import type { RecipeEnd } from './recipe.js';

/** What an end without a host listens on or connects to. */
const LOOPBACK = '127.0.0.1';

/** The head of a recipe before any word: tcp, 127.0.0.1 of the machine itself, at a port yet to be chosen. */
export function firstHead(): RecipeEnd {
  return { protocol: 'tcp', place: { kind: 'host' }, host: LOOPBACK };
}

/** A tail before any word about it: the protocol of its head, `port`, 127.0.0.1 of the machine itself. */
export function defaultTail(head: RecipeEnd, port: number | undefined): RecipeEnd {
  const tail: RecipeEnd = { protocol: head.protocol, place: { kind: 'host' }, host: LOOPBACK };
  if (port !== undefined) tail.port = port;
  return tail;
}

/** The head of a local child before any word: the tail of its parent. */
export function localHead(tail: RecipeEnd): RecipeEnd {
  return { ...tail, place: { ...tail.place } };
}

/** The head of a far child before any word: the protocol of its parent, at an address and port the far machine chooses. */
export function farHead(head: RecipeEnd): RecipeEnd {
  return { protocol: head.protocol, place: { kind: 'host' } };
}
