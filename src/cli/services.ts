import type { Command } from 'commander';
import { printable } from '../text/printable.js';
import { printableJson } from '../text/quote.js';
import { requireRoot } from './fail.js';
import { requireHere } from './machine.js';
import { serviceLog } from './output.js';

/** What wormhole-services-watch.path starts the service with: no link has such an id. */
const ALL = '_all';

export function addServices(program: Command): void {
  program
    .command('services')
    .description('list the services that are published here, and the machines of those that links lead to')
    .option('--json', 'print them as JSON')
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      await requireHere(command, 'services');
      // What is published may be secret.
      requireRoot('services');
      const { listServices } = await import('../links/services/list.js');
      const services = await listServices();
      if (json) {
        process.stdout.write(`${printableJson(services)}\n`);
        return;
      }
      const { textOf } = await import('../links/services/refresh.js');
      const { printTable } = await import('./table.js');
      const rows = services.map(({ name, published, consumers, machines, source, links, problem }) =>
        [
          ...[name, published, list(consumers), textOf(machines), source, list(links), problem].map(
            (cell) => cell || '-',
          ),
        ].map((cell) => printable(cell)),
      );
      const head = ['NAME', 'PUBLISHED HERE', 'FOR', 'MACHINES', 'NAMED BY', 'LINKS', 'PROBLEM'];
      process.stdout.write(printTable(head, rows));
    });
}

/** Adds `wormhole services-refresh`, which wormhole-services@ID.service runs; it is not for people. */
export function addServicesRefresh(program: Command): void {
  program
    .command('services-refresh', { hidden: true })
    .description('look up the machines of services, and change the links that lead to them')
    .argument('<id>', `the id of a link, or ${ALL} for all`)
    .action(async (id: string) => {
      requireRoot('services-refresh');
      const { refreshServices } = await import('../links/services/refresh.js');
      await refreshServices(id === ALL ? undefined : id, serviceLog('wormhole-services').info);
    });
}

/** Adds `wormhole services-register`, which wormhole-services-register.timer runs; it is not for people. */
export function addServicesRegister(program: Command): void {
  program
    .command('services-register', { hidden: true })
    .description('register the services that are published here in etcd')
    .action(async () => {
      requireRoot('services-register');
      const { registerServices } = await import('../links/services/register.js');
      await registerServices(serviceLog('wormhole-services').info);
    });
}

function list(items: string[]): string {
  return items.join(', ');
}
