import { isDeepStrictEqual } from 'node:util';

/** A reader of what others write, under attack. */
export interface Target {
  /**
   * Reads an input, and returns whether the reader accepts it. Throws if the reader breaks its promise: whatever it throws except the
   * errors that it documents.
   */
  run(input: Buffer): boolean;
  /** Words that inputs are made of. */
  words: string[];
  /** Inputs to begin with, all of which are accepted. */
  examples: string[];
  /** The longest input, bytes; default 4096. What grows no new branches only costs time. */
  longest?: number;
  /** An input that is refused. Absent: every input is accepted. */
  refused?: string;
}

/** Returns what `read` returns, or undefined when it throws an error that it documents. */
export function orRefused<T>(read: () => T, isRefusal: (error: Error) => boolean): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Error) || !isRefusal(error)) throw error;
    if (/[\n\r]/.test(error.message)) throw new Error(`a message of several lines: ${error.message}`);
    return undefined;
  }
}

/** Throws unless both are equal. */
export function requireSame(a: unknown, b: unknown, what: string): void {
  if (!isDeepStrictEqual(a, b)) throw new Error(`${what}: ${JSON.stringify(a)} became ${JSON.stringify(b)}`);
}
