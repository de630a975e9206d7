/** A column of a table: what is measured. */
export interface Column {
  readonly title: string;
  readonly better: 'more' | 'less';
  readonly digits: number;
}

/** What was measured of one relay: a number a round and column. */
export interface Row {
  readonly name: string;
  /** By the title of the column. A relay that cannot do something has none there. */
  readonly samples: Record<string, number[]>;
}

/** The results of a part of the benchmark. */
export interface Results {
  readonly part: string;
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
  /** The relay that the others are compared with. */
  readonly reference: string;
}

/** Adds what a round has measured. */
export function addSamples(row: Row, measured: Record<string, number>): void {
  for (const [title, value] of Object.entries(measured)) {
    row.samples[title] ??= [];
    row.samples[title].push(value);
  }
}

/** The median of a column, with the lowest and the highest; undefined without any. */
export function spread(
  row: Row,
  { title }: Column,
): { median: number; low: number; high: number } | undefined {
  const sorted = (row.samples[title] ?? []).toSorted((a, b) => a - b);
  const [low, high] = [sorted[0], sorted.at(-1)];
  const median = sorted[Math.floor(sorted.length / 2)];
  if (median === undefined || low === undefined || high === undefined) return undefined;
  return { median, low, high };
}

/** How many times as good the reference is as a relay: above 1 it is ahead; undefined if that is not known. */
export function advantage({ rows, reference }: Results, row: Row, column: Column): number | undefined {
  const own = rows.find(({ name }) => name === reference);
  const [ours, theirs] = [own && spread(own, column), spread(row, column)];
  if (own === row || ours === undefined || theirs === undefined) return undefined;
  const ratio = column.better === 'more' ? ours.median / theirs.median : theirs.median / ours.median;
  return Number.isFinite(ratio) ? ratio : undefined;
}

/** The table in Markdown. */
export function tableOf(results: Results): string {
  const { columns, rows } = results;
  const lines = rows.map((row) => [row.name, ...columns.map((column) => cell(results, row, column))]);
  const head = ['relay', ...columns.map(({ title }) => title)];
  return [head, head.map(() => '---'), ...lines].map((line) => `| ${line.join(' | ')} |`).join('\n');
}

function cell(results: Results, row: Row, column: Column): string {
  const found = spread(row, column);
  if (found === undefined) return '–';
  const format = (number: number): string =>
    number.toLocaleString('en', {
      minimumFractionDigits: column.digits,
      maximumFractionDigits: column.digits,
    });
  const { median, low, high } = found;
  const ratio = advantage(results, row, column);
  const comparison = ratio === undefined ? '' : ` (${ratio.toFixed(2)})`;
  return `${format(median)}${low === high ? '' : ` [${format(low)}–${format(high)}]`}${comparison}`;
}
