import type { Command } from 'commander';
import type { Machine } from '../api/connect.js';
import { UsageError } from './fail.js';
import { machineOf, type ProgramOptions, parseOrUsage } from './machine.js';

const HELP = `
HOST is a name or an address, with a port or without (9999): myserver, 10.0.0.2, [fd00::1]:9999. Without HOST the
daemon of this machine is asked, over /run/wormhole.sock. Prints the time from a request to its answer over an open
connection, in milliseconds, and the id of the machine, such as: 0.42 5f0c1e9b2a7d4e68b3c1d0a9f8e7d6c5`;

export function addPing(program: Command): void {
  program
    .command('ping')
    .description('print how many milliseconds a machine takes to answer, and its id')
    .argument('[host]', 'the machine to ask')
    .addHelpText('after', HELP)
    .action(async (host: string | undefined, _options: object, command: Command) => {
      const { ping } = await import('../api/client.js');
      const { milliseconds, machine } = await ping(await machineToAsk(host, command));
      process.stdout.write(`${milliseconds.toFixed(2)} ${machine}\n`);
    });
}

async function machineToAsk(host: string | undefined, command: Command): Promise<Machine> {
  const machine = await machineOf(command);
  if (machine && host !== undefined) throw new UsageError('give a HOST or -H, not both');
  if (machine) return machine;
  const { LOCAL, parsePeerEndpoint } = await import('../api/endpoint.js');
  const endpoint = host === undefined ? LOCAL : parseOrUsage(parsePeerEndpoint, host);
  return { endpoint, keyFile: command.optsWithGlobals<ProgramOptions>().key };
}
