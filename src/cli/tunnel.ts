import type { Command } from 'commander';
import type { ListedTunnel, TunnelListing } from '../api/tunnel-schema.js';
import { formatDuration } from '../recipe/duration.js';
import { printable } from '../text/printable.js';
import { printableJson } from '../text/quote.js';
import { requireRoot, UsageError } from './fail.js';
import { machineOf, type ProgramOptions, parseOrUsage } from './machine.js';
import { printCreated } from './output.js';

/** Adds `wormhole tunnel-create`, `tunnel-delete` and `tunnel-list`. */
export function addTunnels(program: Command): void {
  program
    .command('tunnel-create')
    .description('create an IPsec tunnel to a machine, and print the addresses of its two ends')
    .option('--udp', 'ESP in UDP, which passes routers that translate addresses')
    .argument('<host>', 'the machine, whose wormholed is asked')
    .action(create);
  program
    .command('tunnel-delete')
    .description('delete a tunnel on both machines')
    .option('--force', 'even if links use it')
    .argument('<host>', 'the machine at the other end')
    .action(remove);
  program
    .command('tunnel-list')
    .description('list the tunnels of this machine')
    .option('--json', 'print them as JSON')
    .action(list);
}

async function create(host: string, { udp }: { udp?: boolean }, command: Command): Promise<void> {
  await requireHere(command);
  await requireMachine(host);
  requireRoot(`tunnel-create ${host}`);
  const { ensureTunnel } = await import('../tunnels/create.js');
  const { key } = command.optsWithGlobals<ProgramOptions>();
  const { inner } = await ensureTunnel(host, udp ? 'udp' : 'esp', key);
  printCreated(`the tunnel to ${host}`, `${inner.local} ${inner.remote}`);
}

async function remove(host: string, { force = false }: { force?: boolean }, command: Command): Promise<void> {
  await requireHere(command);
  await requireMachine(host);
  requireRoot(`tunnel-delete ${host}`);
  const { deleteTunnel } = await import('../tunnels/delete.js');
  const { peer, left } = await deleteTunnel(host, { force });
  if (left !== undefined) {
    process.stderr.write(
      `wormhole: the tunnel is deleted here; its side on machine ${peer} is deleted as soon as that machine can be told: ${printable(left)}\n`,
    );
  }
}

async function list({ json }: { json?: boolean }, command: Command): Promise<void> {
  const { tunnels, unreadable } = await readListing(command);
  process.stdout.write(json ? `${printableJson(tunnels)}\n` : await table(tunnels));
  for (const { unit, reason } of unreadable) {
    process.stderr.write(
      `wormhole: ${unit} cannot be read: ${printable(reason)}; remove the file, and create the tunnel again\n`,
    );
    process.exitCode = 1;
  }
}

async function readListing(command: Command): Promise<TunnelListing> {
  const machine = await machineOf(command);
  if (machine) {
    const { listTunnelsAt } = await import('../api/client.js');
    return listTunnelsAt(machine);
  }
  requireRoot('tunnel-list');
  const { listTunnels } = await import('../tunnels/list.js');
  return listTunnels();
}

async function table(tunnels: ListedTunnel[]): Promise<string> {
  const { default: colours } = await import('picocolors');
  const { printTable } = await import('./table.js');
  const rows = tunnels.map(({ peer, local, remote, mode, state, detail, keyAge, received, sent }) => [
    printable(peer),
    local,
    remote,
    mode,
    { up: colours.green, down: colours.red, leaving: colours.yellow }[state](state),
    keyAge === null ? '-' : formatDuration(keyAge),
    traffic(received),
    traffic(sent),
    printable(detail),
  ]);
  return printTable(['PEER', 'LOCAL', 'REMOTE', 'MODE', 'STATE', 'KEYS', 'RECEIVED', 'SENT', ''], rows);
}

function traffic({ bytes, packets }: ListedTunnel['sent']): string {
  return `${bytes} B in ${packets}`;
}

async function requireHere(command: Command): Promise<void> {
  if ((await machineOf(command)) === undefined) return;
  throw new UsageError(
    `${command.name()} acts on this machine and the one it names: run it there, without -H`,
  );
}

/** @throws UsageError when it cannot be the name of a machine */
async function requireMachine(host: string): Promise<void> {
  const { parsePeerEndpoint } = await import('../api/endpoint.js');
  parseOrUsage(parsePeerEndpoint, host);
}
