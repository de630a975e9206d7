import type { TrafficReport } from '../api/listing-schema.js';
import { readTraffic } from '../state/traffic.js';

/** What has flowed through the links of this machine on each day, up to this moment. */
export function trafficReport(): TrafficReport {
  return {
    days: readTraffic().map(({ day, links }) => ({
      day,
      links: Object.entries(links)
        .map(([id, traffic]) => ({ id, traffic }))
        .sort((one, other) => (one.id < other.id ? -1 : 1)),
    })),
  };
}
