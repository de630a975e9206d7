import type { Command } from 'commander';
import type { Peer } from '../links/remote/peers.js';
import { printable } from '../text/printable.js';
import { printableJson } from '../text/quote.js';
import { requireRoot, UsageError } from './fail.js';
import { requireHere } from './machine.js';

const HELP = `
A machine is known by its id, which it proves to have, whatever its names and addresses; wormhole ping prints that of this
machine, and that of another one with its name. The first machine that answers to a name is remembered.

After revoke, the machine still has the key, with which it can come back under another id: change the key on all others
(man wormholed).`;

/** Adds `wormhole peers` with its own commands. */
export function addPeers(program: Command): void {
  const peers = program
    .command('peers')
    .description('list the machines that are known here, accept and refuse them')
    .option('--json', 'print them as JSON')
    .addHelpText('after', HELP)
    .helpCommand(false)
    .action(list);
  peers
    .command('accept')
    .description('accept that a machine has another id than before, because it was reinstalled')
    .argument('<machine>', 'its name here, or the id that it had')
    .argument('<id>', 'the id that wormhole ping prints there')
    .action(accept);
  peers
    .command('revoke')
    .description('remove all links, parts and tunnels of a machine, and refuse it from now on')
    .argument('<machine>', 'its name here, or its id')
    .action(revoke);
  peers
    .command('allow')
    .description('stop refusing a machine')
    .argument('<machine>', 'its id, or the name that it had here')
    .action(allow);
}

async function list({ json }: { json?: boolean }, command: Command): Promise<void> {
  await requireHere(command, 'peers');
  const { knownPeers } = await import('../links/remote/peers.js');
  const { ownIdentity } = await import('../state/identity.js');
  const stateOf = ({ id, refused }: Peer) => {
    if (refused) return 'refused';
    if (id === undefined) return 'unknown';
    return id === ownIdentity().id ? 'this machine' : 'known';
  };
  const peers = knownPeers().map((peer) => ({
    id: peer.id ?? null,
    names: peer.names,
    links: peer.links.map((link) => link.id),
    parts: peer.parts.map((part) => part.id),
    tunnels: peer.tunnels.map((tunnel) => tunnel.peer),
    state: stateOf(peer),
  }));
  if (json) {
    process.stdout.write(`${printableJson(peers)}\n`);
    return;
  }
  const { printTable } = await import('./table.js');
  const rows = peers.map(({ id, names, links, parts, tunnels, state }) =>
    [id ?? '-', ...[names, links, parts, tunnels].map(textOf), state].map((cell) => printable(cell)),
  );
  process.stdout.write(printTable(['ID', 'NAMES', 'LINKS', 'PARTS', 'TUNNELS', 'STATE'], rows));
}

async function accept(machine: string, id: string, _options: object, command: Command): Promise<void> {
  await requireHere(command, 'peers');
  requireRoot(`peers accept ${machine} ${id}`);
  const { isMachineId } = await import('../state/peers.js');
  if (!isMachineId(id))
    throw new UsageError(
      `"${id}" is not the id of a machine, 32 hexadecimal digits, as wormhole ping prints it`,
    );
  const { acceptPeer } = await import('../links/remote/accept-peer.js');
  await orUsage(acceptPeer(machine, id));
}

async function revoke(machine: string, _options: object, command: Command): Promise<void> {
  await requireHere(command, 'peers');
  requireRoot(`peers revoke ${machine}`);
  const { revokePeer } = await import('../links/remote/revoke-peer.js');
  const { id, links, parts, tunnels } = await orUsage(revokePeer(machine));
  const removed = [
    ...links.map((link) => `link ${link.id}`),
    ...parts.map((part) => `part ${part.id}`),
    ...tunnels.map(({ peer }) => `tunnel ${peer}`),
  ];
  process.stdout.write(
    `${id} ${removed.length === 0 ? 'has nothing here' : `removed: ${removed.join(', ')}`}\n`,
  );
  process.stderr.write(
    'wormhole: it is refused from now on, but still has the key, with which it can come back under another id: change the key on all other machines (man wormholed)\n',
  );
}

async function allow(machine: string, _options: object, command: Command): Promise<void> {
  await requireHere(command, 'peers');
  requireRoot(`peers allow ${machine}`);
  const { allowPeer } = await import('../links/remote/revoke-peer.js');
  process.stdout.write(`${allowPeer(machine)}\n`);
}

/** Waits for work on a machine. @throws UsageError when the name cannot be one of a machine; what the work throws */
async function orUsage<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const { InvalidEndpoint } = await import('../api/endpoint.js');
    if (error instanceof InvalidEndpoint) throw new UsageError(error.message);
    throw error;
  }
}

function textOf(items: string[]): string {
  return items.length === 0 ? '-' : items.join(' ');
}
