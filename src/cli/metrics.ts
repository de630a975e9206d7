import { accessSync } from 'node:fs';
import type { Command } from 'commander';
import type { Machine } from '../api/connect.js';
import { endpointText } from '../api/endpoint.js';
import type { Listing } from '../api/listing-schema.js';
import type { TunnelListing } from '../api/tunnel-schema.js';
import { version } from '../state/installation.js';
import { logEntry } from '../systemd/journal-entry.js';
import { UsageError } from './fail.js';
import { machineOf } from './machine.js';

const HELP = `
doc/metrics.md describes the names. Metrics of tunnels need root. A scrape neither starts a link nor keeps it awake. systemctl enable
--now wormhole-metrics.socket serves them at http://127.0.0.1:9998/metrics, and wormhole-metrics.timer writes them for the textfile
collector of node-exporter.`;

export function addMetrics(program: Command): void {
  program
    .command('metrics')
    .description('print the metrics of all links and tunnels in the format of Prometheus')
    .option('--output <file>', 'write them to a file, which is replaced atomically')
    .addHelpText('after', HELP)
    .action(async ({ output }: { output?: string }, command: Command) => {
      if (output !== undefined && !output.startsWith('/'))
        throw new UsageError(`--output "${output}" is not an absolute path`);
      const machine = await machineOf(command);
      const [listing, tunnels] = await Promise.all([readListing(machine), readTunnels(machine)]);
      const text = await render(listing, tunnels);
      if (output === undefined) process.stdout.write(text);
      else {
        const { writeAtomically } = await import('../system/files.js');
        writeAtomically(output, text);
      }
    });
  program
    .command('metrics-serve', { hidden: true })
    .description('serve the metrics of all links on the sockets that systemd passes, until nobody asks')
    .action(async () => {
      const { passedSockets } = await import('../systemd/listen-fds.js');
      const { serveMetrics } = await import('./metrics-server.js');
      const { listLinks } = await import('../links/list.js');
      await serveMetrics(passedSockets(process.env, process.pid), async () =>
        render(await listLinks(), await readTunnels(undefined)),
      );
    });
}

async function readListing(machine: Machine | undefined): Promise<Listing> {
  if (machine) {
    const { listAt } = await import('../api/client.js');
    return listAt(machine);
  }
  const { listLinks } = await import('../links/list.js');
  return listLinks();
}

/** Reads the tunnels. If they cannot be read, links are shown anyway, and the error goes to stderr or the journal. */
async function readTunnels(machine: Machine | undefined): Promise<TunnelListing | undefined> {
  const { listTunnelsAt } = await import('../api/client.js');
  try {
    return machine ? await listTunnelsAt(machine) : await readOwnTunnels();
  } catch (error) {
    logEntry({
      message: `the tunnels cannot be read, and have no figures: ${(error as Error).message}`,
      identifier: 'wormhole-metrics',
      priority: 4,
      about: { event: 'failed', ...(machine && { peer: endpointText(machine.endpoint) }) },
    });
    return undefined;
  }
}

/**
 * Reads the tunnels of this machine from wormholed, since ip(8) tells of them with CAP_NET_ADMIN alone, and the services of metrics have no
 * capability. Nothing of it is started when there is no tunnel.
 *
 * @returns undefined for a user who may not ask
 */
async function readOwnTunnels(): Promise<TunnelListing | undefined> {
  const { readTunnels: readUnits } = await import('../state/tunnels.js');
  const { tunnels, unreadable } = readUnits();
  if (tunnels.length === 0) return { tunnels: [], unreadable };
  const { listTunnelsAt } = await import('../api/client.js');
  const { READ_ONLY } = await import('../api/endpoint.js');
  try {
    accessSync(READ_ONLY.path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES') return undefined;
    throw error;
  }
  return listTunnelsAt({ endpoint: READ_ONLY, keyFile: '' });
}

async function render(listing: Listing, tunnels: TunnelListing | undefined): Promise<string> {
  const { renderMetrics } = await import('./metrics-text.js');
  return renderMetrics({ listing, version: version(), ...(tunnels && { tunnels }) });
}
