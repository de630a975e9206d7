import { isSix } from './address.js';
import type { End, Place } from './link.js';

/**
 * The address of an end: `127.0.0.1:3306`, `[::1]:80`. What the end lacks is left out: `127.0.0.1` without a port,
 * `:13306` without a host, '' without both.
 */
export function address(end: End): string {
  const host = end.host !== undefined && isSix(end.host) ? `[${end.host}]` : (end.host ?? '');
  return end.port === undefined ? host : `${host}:${end.port}`;
}

/**
 * An end as the recipe's `url` has it: `tcp://127.0.0.1:3306`, `tcp://[::1]:80`, `tcp://blue@127.0.0.1:80` in a
 * named netns. A container has no place in a url, so for one only protocol and address are told.
 */
export function endUrl(end: End): string {
  const netns = end.place.kind === 'netns' ? `${end.place.name}@` : '';
  return `${end.protocol}://${netns}${address(end)}`;
}

/** What a link leads to when its tail is on another machine, for people: `machine myserver`. */
export function describePeer(peer: string): string {
  return `machine ${peer}`;
}

/** A place for people: `this host`, `netns blue`, `container mysql`, `the container of link 80`. */
export function describePlace(place: Place): string {
  switch (place.kind) {
    case 'host':
      return 'this host';
    case 'netns':
      return `netns ${place.name}`;
    case 'container':
      return `container ${place.name}`;
    case 'run':
      // What docker-run is given may hold secrets, and this ends up in journals.
      return place.name === undefined
        ? 'a container of its own'
        : `the container of link ${place.name.replace(/-head$/, '')}`;
  }
}
