import { closeSync, openSync, readSync } from 'node:fs';
import os from 'node:os';

/** The layout of the file: see src/forwarder/counters.ts, which writes it. */
const FORMAT = 'wormhole counters 1';
const FIGURES_AT = 1024;
const TEXTS_AT = 3072;
const TEXT_SIZE = 512;
const SIZE = 4096;

/** What names figures and texts. A forwarder that has been taken over may write others, which are left out. */
const NAME = /^[A-Za-z][\w<=.]{0,31}$/;

/** The figures and texts of a file of counters, by name. */
export interface CountersFile {
  figures: Record<string, number>;
  texts: Record<string, string>;
}

/**
 * Reads a file of counters, at this moment.
 *
 * @returns undefined when there is none, or it has another format
 */
export function readCountersFile(path: string): CountersFile | undefined {
  const file = readBytes(path);
  const [format, names = '', texts = ''] = file?.toString('latin1', 0, FIGURES_AT).split('\n') ?? [];
  if (file === undefined || format !== FORMAT) return undefined;
  return {
    figures: Object.fromEntries(named(names).map(([name, index]) => [name, readFigure(file, index)])),
    texts: Object.fromEntries(named(texts).map(([name, index]) => [name, readText(file, index)])),
  };
}

/** The bytes of a file with these figures and texts, for a forwarder to go on from. */
export function formatCountersFile({ figures, texts }: CountersFile): Buffer {
  const file = Buffer.alloc(SIZE);
  const names = Object.keys(figures).slice(0, (TEXTS_AT - FIGURES_AT) / 8);
  const textNames = Object.keys(texts).slice(0, (SIZE - TEXTS_AT) / TEXT_SIZE);
  file.write([FORMAT, names.join(' '), textNames.join(' '), ''].join('\n'), 0, FIGURES_AT - 1);
  for (const [index, name] of names.entries()) writeFigure(file, index, figures[name] ?? 0);
  for (const [index, name] of textNames.entries())
    file.write(texts[name] ?? '', TEXTS_AT + TEXT_SIZE * index, TEXT_SIZE - 1);
  return file;
}

function named(line: string): [string, number][] {
  return line
    .split(' ')
    .flatMap((name, index): [string, number][] => (NAME.test(name) ? [[name, index]] : []));
}

/** The file, and no more than a forwarder writes that is not hostile. */
function readBytes(path: string): Buffer | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const bytes = Buffer.alloc(SIZE);
    return bytes.subarray(0, readSync(fd, bytes, 0, SIZE, 0));
  } finally {
    closeSync(fd);
  }
}

/** The largest figure: what a Date holds, in ms, which is about the largest whole number of JavaScript. */
export const MOST_FIGURE = 8.64e15;

/** A sum of figures, as far as there is one. */
export function sumOf(...figures: number[]): number {
  return Math.min(
    MOST_FIGURE,
    figures.reduce((sum, figure) => sum + figure, 0),
  );
}

/** The forwarder sees the clients, and is not trusted: whatever it writes is a number here, and words. */
function readFigure(file: Buffer, index: number): number {
  const at = FIGURES_AT + 8 * index;
  if (at + 8 > Math.min(file.length, TEXTS_AT)) return 0;
  const value = os.endianness() === 'LE' ? file.readDoubleLE(at) : file.readDoubleBE(at);
  return value >= 0 ? Math.min(value, MOST_FIGURE) : 0;
}

function writeFigure(file: Buffer, index: number, value: number): void {
  const at = FIGURES_AT + 8 * index;
  if (os.endianness() === 'LE') file.writeDoubleLE(value, at);
  else file.writeDoubleBE(value, at);
}

function readText(file: Buffer, index: number): string {
  const at = TEXTS_AT + TEXT_SIZE * index;
  const [text = ''] = file.toString('utf8', at, at + TEXT_SIZE).split('\0');
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '');
}
