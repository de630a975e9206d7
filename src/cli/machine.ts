import type { Command } from 'commander';
import type { Machine } from '../control/api/connect.js';
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
  const { parseAddress } = await import('../control/api/address.js');
  return { address: readAddress(parseAddress, host), keyFile: key };
}

/** What `parse` makes of an address. @throws UsageError when it is none */
export function readAddress<T>(parse: (text: string) => T, text: string): T {
  try {
    return parse(text);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
