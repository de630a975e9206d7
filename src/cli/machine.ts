import type { Command } from 'commander';
import type { Machine } from '../api/connect.js';
import { UsageError } from './fail.js';

/** The options that stand before the command. */
export interface ProgramOptions {
  host?: string;
  key: string;
}

/** The machine that `-H ADDR` names, with the key of `-K FILE`; undefined without -H. @throws UsageError */
export async function machineOf(command: Command): Promise<Machine | undefined> {
  const { host, key } = command.optsWithGlobals<ProgramOptions>();
  if (host === undefined) return undefined;
  const { parsePeerEndpoint } = await import('../api/endpoint.js');
  return { endpoint: parseOrUsage(parsePeerEndpoint, host), keyFile: key };
}

/** What `parse` makes of a text. @throws UsageError when it throws */
export function parseOrUsage<T>(parse: (text: string) => T, text: string): T {
  try {
    return parse(text);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
