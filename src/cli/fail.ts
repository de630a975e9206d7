import { Failure } from '../api/failure.js';
import { RecipeError } from '../recipe/error.js';
import { printable } from '../text/printable.js';
import { logFailure } from './output.js';

/** The exit statuses beside 0, wormhole(1). */
export const exitStatus = { failure: 1, usage: 2 } as const;

/** The command line is well formed, and asks for what makes no sense or cannot be had. */
export class UsageError extends Error {}

/** Prints one line for an error on stderr and sets the exit status: 2 for a fault of the command line, 1 for others. */
export function fail(error: unknown, program = 'wormhole'): void {
  const message = error instanceof Error ? error.message : String(error);
  const line = `${program}: ${printable(message.replace(/\s*\n\s*/g, ' / '))}`;
  if (!logFailure(line)) process.stderr.write(`${line}\n`);
  const usage =
    error instanceof RecipeError ||
    error instanceof UsageError ||
    // A machine has said so.
    (error instanceof Failure && error.code === 'usage');
  process.exitCode = usage ? exitStatus.usage : exitStatus.failure;
}

/**
 * Makes sure that the command runs as root, which writing units and joining namespaces needs.
 *
 * @param command how to call it, for the message
 * @throws Error when it does not
 */
export function requireRoot(command: string, program = 'wormhole'): void {
  if (process.geteuid?.() !== 0) throw new Error(`this needs root: sudo ${program} ${command}`.trimEnd());
}

/** commander's message with the way out, on one line. */
export function oneLine(text: string, program = 'wormhole'): string {
  const message = text
    .trim()
    .replace(/^error: /, '')
    .replace(/\.?\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  return `${program}: ${printable(message)}; see ${program} ${program === 'wormhole' ? 'help' : '--help'}\n`;
}
