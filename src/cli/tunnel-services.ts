import type { Command } from 'commander';
import { requireRoot } from './fail.js';
import { serviceLog } from './output.js';

/** Adds what the units of tunnels run: `tunnel-up`, `tunnel-rekey`, `tunnel-udp` and `tunnel-guard`. */
export function addTunnelServices(program: Command): void {
  const openLog = (peer?: string) => serviceLog('wormhole-tunnel', peer === undefined ? {} : { peer }).info;
  program
    .command('tunnel-up', { hidden: true })
    .description('bring a tunnel up that has a unit')
    .argument('<host>', 'the machine, as the unit names it')
    .action(async (host: string) => {
      requireRoot(`tunnel-up ${host}`);
      const { bringUpUnit } = await import('../tunnels/up.js');
      try {
        await bringUpUnit(host, openLog());
      } catch (error) {
        // People look for this line among those of the unit.
        throw new Error(`${(error as Error).message}; nothing passes the tunnel to ${host} until it is up`);
      }
    });
  program
    .command('tunnel-rekey', { hidden: true })
    .description('rekey a tunnel when its keys are old, or the other machine has lost them')
    .option('--now', 'whatever their age')
    .argument('<host>', 'the machine, as the unit names it')
    .action(async (host: string, { now = false }: { now?: boolean }) => {
      requireRoot(`tunnel-rekey ${host}`);
      const { rekeyTunnel } = await import('../tunnels/up.js');
      const log = openLog(host);
      try {
        if (await rekeyTunnel(host, { now, log }))
          log(`the tunnel to ${host} has new keys`, { event: 'rekeyed' });
      } catch (error) {
        throw new Error(
          `${(error as Error).message}; the tunnel to ${host} keeps its keys for at most three hours`,
        );
      }
    });
  program
    .command('tunnel-udp', { hidden: true })
    .description('receive ESP in UDP while there is a tunnel that needs it')
    .action(async () => {
      requireRoot('tunnel-udp');
      const { runUdpService } = await import('../tunnels/udp-service.js');
      await runUdpService(openLog());
    });
  program
    .command('tunnel-guard', { hidden: true })
    .description('block clear text to and from the addresses of tunnels before they are up')
    .action(async () => {
      requireRoot('tunnel-guard');
      openLog();
      const { guardTunnels } = await import('../tunnels/up.js');
      await guardTunnels();
    });
}
