import type { Command } from 'commander';
import { requireRoot } from './fail.js';

/** Adds what the units of tunnels run: `tunnel-up`, `tunnel-rekey`, `tunnel-udp` and `tunnel-guard`. */
export function addTunnelServices(program: Command): void {
  program
    .command('tunnel-up', { hidden: true })
    .description('bring a tunnel up that has a unit')
    .argument('<host>', 'the machine, as the unit names it')
    .action(async (host: string) => {
      requireRoot(`tunnel-up ${host}`);
      const { bringUp } = await import('../control/tunnel/up.js');
      try {
        await bringUp(host, say);
      } catch (error) {
        // Of the unit's lines, this is the one that people look for.
        throw new Error(`${(error as Error).message}; nothing passes the tunnel to ${host} until it is up`);
      }
    });
  program
    .command('tunnel-rekey', { hidden: true })
    .description('renew the keys of a tunnel when they are old, or the other machine has lost them')
    .option('--now', 'whatever their age')
    .argument('<host>', 'the machine, as the unit names it')
    .action(async (host: string, { now }: { now?: boolean }) => {
      requireRoot(`tunnel-rekey ${host}`);
      const { rekeyTunnel } = await import('../control/tunnel/up.js');
      try {
        if (await rekeyTunnel(host, now === true, say)) say(`the tunnel to ${host} has new keys`);
      } catch (error) {
        throw new Error(
          `${(error as Error).message}; the tunnel to ${host} keeps the keys it has, for three hours at the most`,
        );
      }
    });
  program
    .command('tunnel-udp', { hidden: true })
    .description('receive ESP in UDP for as long as there is a tunnel that needs it')
    .action(async () => {
      requireRoot('tunnel-udp');
      const { serveUdp } = await import('../control/tunnel/udp-service.js');
      await serveUdp(say);
    });
  program
    .command('tunnel-guard', { hidden: true })
    .description('let nothing for tunnels out in the clear before they are up')
    .action(async () => {
      requireRoot('tunnel-guard');
      const { guardTunnels } = await import('../control/tunnel/up.js');
      await guardTunnels();
    });
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
