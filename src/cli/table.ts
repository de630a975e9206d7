import Table from 'cli-table3';

/** A table without lines, for people: each column as wide as what is in it. */
export function printTable(head: string[], rows: string[][]): string {
  const none = Object.fromEntries(
    ['top', 'bottom', 'left', 'right', 'mid'].flatMap((side) =>
      ['', '-mid', '-left', '-right'].map((part) => [`${side}${part}`, '']),
    ),
  );
  const table = new Table({
    head,
    chars: { ...none, middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0, compact: true },
  });
  table.push(...rows);
  return `${table.toString().replace(/ +$/gm, '')}\n`;
}
