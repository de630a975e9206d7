import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus, loadavg, release } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { drawCharts } from './charts.ts';
import type { Results } from './report.ts';

/** Where the results are kept. */
export const RESULTS = join(dirname(fileURLToPath(import.meta.url)), 'results');

/** Writes PART.json and PART.svg. */
export function writeResults(results: Results): void {
  mkdirSync(RESULTS, { recursive: true });
  const { part, columns, rows, reference } = results;
  const machine = {
    kernel: release(),
    arch: arch(),
    processors: cpus().length,
    model: cpus()[0]?.model,
    load: loadavg(),
  };
  const json = {
    part,
    date: new Date().toISOString(),
    node: process.version,
    machine,
    reference,
    columns,
    rows,
  };
  writeFileSync(join(RESULTS, `${part}.json`), `${JSON.stringify(json, null, 1)}\n`);
  writeFileSync(join(RESULTS, `${part}.svg`), drawCharts(results));
}
