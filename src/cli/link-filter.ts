import type { ListedLink } from '../api/listing-schema.js';

/** Which links to show: those that all of these apply to. */
export interface LinkFilter {
  /** In one of these states. */
  state?: ListedLink['state'][];
  /** With a tail on that machine, through a tunnel to it, or for a link of it. */
  machine?: string;
  /** With an end in the container of that name, or in the one that the link of that id runs. */
  container?: string;
}

/** The links that a filter leaves. */
export function selectLinks(links: ListedLink[], { state, machine, container }: LinkFilter): ListedLink[] {
  return links.filter((link) => {
    const places = [link.head.place, link.tail.place];
    const isOnMachine = () =>
      places.includes(`machine ${machine}`) ||
      link.tunnel === machine ||
      link.owner?.endsWith(` of ${machine}`) === true;
    const isInContainer = () =>
      places.includes(`container ${container}`) || places.includes(`the container of link ${container}`);
    return (
      (state === undefined || state.includes(link.state)) &&
      (machine === undefined || isOnMachine()) &&
      (container === undefined || isInContainer())
    );
  });
}
