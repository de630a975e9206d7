export type Labels = Record<string, string | number>;

/** A sample of a metric. `metricName` is that of a part of a histogram. */
export interface Value {
  labels: Labels;
  value: number;
  metricName?: string;
}

/** A metric in the form of prom-client's `getMetricsAsJSON`, the only one that takes a histogram that somebody else has counted. */
export interface Metric {
  name: string;
  help: string;
  type: 'counter' | 'gauge' | 'histogram';
  values: Value[];
  aggregator: 'sum';
}

export function metric(type: Metric['type'], name: string, help: string, values: Value[]): Metric {
  return { name, help, type, values, aggregator: 'sum' };
}
