import type { ListedEnd } from '../api/listing-schema.js';

/** An end as tables show it: its urls, and the place unless it is this host or in the url. */
export function describeListedEnd({ url, place, also = [] }: ListedEnd): string {
  if (url === '') return place;
  const urls = [url, ...also].join(', ');
  if (place.startsWith('machine ')) return `${urls} on ${place}`;
  return place === 'this host' || place.startsWith('netns ') ? urls : `${urls} in ${place}`;
}
