import { existsSync, readFileSync, writeFileSync } from 'node:fs';

interface Place {
  line: number;
  column: number;
}

/** One small change of the source, and what became of it: `Killed` by a test, `Timeout`, `Survived` or another status of Stryker's. */
export interface Mutant {
  file: string;
  location: { start: Place; end: Place };
  mutatorName: string;
  replacement: string;
  status: string;
}

/** The mutants in a report of Stryker's. */
export function readReport(path: string): Mutant[] {
  const { files } = JSON.parse(readFileSync(path, 'utf8')) as {
    files: Record<string, { mutants: Omit<Mutant, 'file'>[] }>;
  };
  return Object.entries(files).flatMap(([file, { mutants }]) =>
    mutants.map(({ location, mutatorName, replacement = '', status }) => ({
      ...{ file, location, mutatorName, replacement, status },
    })),
  );
}

const pathOf = (folder: string) => `reports/mutation/${folder}.json`;

function kept(folder: string): Mutant[] {
  const path = pathOf(folder);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Mutant[]) : [];
}

/** The places of the mutants of a folder that survived when it was last measured, as patterns of Stryker's. */
export function survivorsOf(folder: string): string[] {
  const survivors = kept(folder).filter(({ status }) => status === 'Survived');
  return [
    ...new Set(
      survivors.map(({ file, location: { start, end } }) => {
        // Stryker's report counts columns from 1, its patterns from 0.
        return `${file}:${start.line}:${start.column - 1}-${end.line}:${end.column - 1}`;
      }),
    ),
  ];
}

/**
 * Keeps what was measured of a folder.
 *
 * @param isPart whether it was only a part of it: then what is known of the rest stays
 * @returns all mutants of the folder that are known
 */
export function keep(folder: string, measured: Mutant[], isPart: boolean): Mutant[] {
  const key = ({ file, location, mutatorName, replacement }: Mutant) =>
    JSON.stringify([file, location, mutatorName, replacement]);
  const all = new Map((isPart ? kept(folder) : []).map((mutant) => [key(mutant), mutant]));
  for (const mutant of measured) all.set(key(mutant), mutant);
  const mutants = [...all.values()];
  writeFileSync(pathOf(folder), `${JSON.stringify(mutants, null, 1)}\n`);
  return mutants;
}
