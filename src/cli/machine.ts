import { hostname } from 'node:os';
import type { Command } from 'commander';
import type { Machine } from '../api/connect.js';
import { UsageError } from './fail.js';

/** The options that stand before the command. */
export interface ProgramOptions {
  /** One for each -H. */
  host?: string[];
  key: string;
}

/** The machine that `-H ADDR` names, with the key of `-K FILE`; undefined without -H. @throws UsageError, also for several -H */
export async function machineOf(command: Command): Promise<Machine | undefined> {
  const [first, second] = await machinesOf(command);
  if (second)
    throw new UsageError(
      `-H "${second.name}": this command takes one machine; list, graph and top take several`,
    );
  return first?.machine;
}

/**
 * Refuses -H for a command that acts only on this machine.
 *
 * @param name the command, for the message
 * @param instead what to do instead
 * @throws UsageError
 */
export async function requireHere(
  command: Command,
  name: string,
  instead = 'run it there, without -H',
): Promise<void> {
  if ((await machineOf(command)) === undefined) return;
  throw new UsageError(`${name} acts only on this machine: ${instead}`);
}

/** The machines that `-H ADDR` names, as recipes would, with the key of `-K FILE`; none without -H. @throws UsageError */
export async function machinesOf(command: Command): Promise<{ name: string; machine: Machine }[]> {
  const { host = [], key } = command.optsWithGlobals<ProgramOptions>();
  if (host.length === 0) return [];
  const { parsePeerEndpoint, peerName } = await import('../api/endpoint.js');
  const machines = host.map((text) => {
    const endpoint = parseOrUsage(parsePeerEndpoint, text);
    // A unix socket leads to this machine.
    const name = endpoint.kind === 'tcp' ? peerName(endpoint) : hostname();
    return { name, machine: { endpoint, keyFile: key } };
  });
  return machines.filter(({ name }, at) => machines.findIndex((other) => other.name === name) === at);
}

/** What `parse` makes of a text. @throws UsageError when it throws */
export function parseOrUsage<T>(parse: (text: string) => T, text: string): T {
  try {
    return parse(text);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
