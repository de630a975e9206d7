import { type Command, Option } from 'commander';
import { printable } from '../text/printable.js';
import { requireRoot } from './fail.js';
import { logError, logLine } from './output.js';

/** How often `systemctl status` is told the progress of a start, ms. */
const INTERVAL_MS = 1_000;

/** Adds `wormhole run`, which wormhole-NAME-run.service runs; it is not for people. */
export function addRun(program: Command): void {
  program
    .command('run', { hidden: true })
    .description('start, or stop, the container that a link runs')
    .argument('<name>', 'the NAME of wormhole-NAME-run.service')
    .addOption(new Option('--stop', 'stop it instead').conflicts('died'))
    .addOption(new Option('--died', 'it has ended by itself'))
    .action(async (name: string, { stop, died = false }: { stop?: boolean; died?: boolean }) => {
      requireRoot('run …');
      const { startRun, stopRun } = await import('../links/containers/run.js');
      if (stop) return stopRun(name);
      const { notifySystemd } = await import('../systemd/notify.js');
      const showStatus = atMostEverySecond((status) => notifySystemd(`STATUS=${status}`));
      await startRun(name, died, { log: logLine, warn: logError, showStatus });
    });
}

function atMostEverySecond(show: (status: string) => void): (status: string) => void {
  let last = 0;
  return (status) => {
    if (Date.now() - last < INTERVAL_MS) return;
    last = Date.now();
    show(printable(status));
  };
}
