import type { Command } from 'commander';
import type { Listing } from '../api/schema.js';
import { version } from '../state/installation.js';
import { UsageError } from './fail.js';
import { machineOf } from './machine.js';

const HELP = `
The names are described in doc/metrics.md. A scrape neither starts a link nor keeps it awake. systemctl enable --now
wormhole-metrics.socket serves them at http://127.0.0.1:9998/metrics, and wormhole-metrics.timer writes them for the
textfile collector of node-exporter.`;

/** Adds `wormhole metrics`. */
export function addMetrics(program: Command): void {
  program
    .command('metrics')
    .description('print the figures of all links for Prometheus')
    .option('--output <file>', 'write them to a file, which is replaced atomically')
    .addHelpText('after', HELP)
    .action(async ({ output }: { output?: string }, command: Command) => {
      if (output !== undefined && !output.startsWith('/'))
        throw new UsageError(`--output "${output}" is not an absolute path`);
      const text = await render(await readListing(command));
      if (output === undefined) process.stdout.write(text);
      else {
        const { writeAtomically } = await import('../system/files.js');
        writeAtomically(output, text);
      }
    });
  program
    .command('metrics-serve', { hidden: true })
    .description('serve the figures of all links on the sockets that systemd passes, until nobody asks')
    .action(async () => {
      const { passedSockets } = await import('../systemd/listen-fds.js');
      const { serveMetrics } = await import('./metrics-server.js');
      const { listLinks } = await import('../links/list.js');
      await serveMetrics(passedSockets(process.env, process.pid), async () => render(await listLinks()));
    });
}

async function readListing(command: Command): Promise<Listing> {
  const machine = await machineOf(command);
  if (machine) {
    const { listAt } = await import('../api/client.js');
    return listAt(machine);
  }
  const { listLinks } = await import('../links/list.js');
  return listLinks();
}

async function render(listing: Listing): Promise<string> {
  const { renderMetrics } = await import('./metrics-text.js');
  return renderMetrics(listing, version());
}
