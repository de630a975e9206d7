import { stripVTControlCharacters } from 'node:util';

/** A table without lines, for people: each column is as wide as its longest cell, colours aside. */
export function printTable(head: string[], rows: string[][]): string {
  const table = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...table.map((row) => width(row[column]))));
  const lines = table.map((row) =>
    row.map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - width(cell))).join('  '),
  );
  return `${lines.join('\n').replace(/ +$/gm, '')}\n`;
}

function width(cell = ''): number {
  return [...stripVTControlCharacters(cell)].length;
}
