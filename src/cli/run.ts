import { type Command, Option } from 'commander';
import { printable } from '../text/printable.js';
import { requireRoot } from './fail.js';
import { serviceLog } from './output.js';

/** How often `systemctl status` is told the progress of a start, ms. */
const INTERVAL_MS = 1_000;

interface RunOptions {
  stop?: boolean;
  died?: boolean;
  ended?: boolean;
}

/** Adds `wormhole run`, which wormhole-NAME-run.service runs; it is not for people. */
export function addRun(program: Command): void {
  program
    .command('run', { hidden: true })
    .description('start, or stop, the container or the service that a link runs')
    .argument('<name>', 'the NAME of wormhole-NAME-run.service')
    .addOption(new Option('--stop', 'stop it instead').conflicts(['died', 'ended']))
    .addOption(new Option('--died', 'it has ended by itself'))
    .addOption(new Option('--ended', 'the service may have ended').conflicts('died'))
    .action(async (name: string, { stop, died = false, ended }: RunOptions) => {
      requireRoot('run …');
      const { noteEndOfRun, startRun, stopRun } = await import('../links/containers/run.js');
      const { info, error } = serviceLog(`wormhole-${name}-run`);
      const journal = { log: info, warn: error };
      if (stop) return stopRun(name, journal);
      if (ended) return noteEndOfRun(name, journal);
      const { notifySystemd } = await import('../systemd/notify.js');
      const showStatus = atMostEverySecond((status) => notifySystemd(`STATUS=${status}`));
      await startRun(name, { died }, { ...journal, showStatus });
    });
}

function atMostEverySecond(show: (status: string) => void): (status: string) => void {
  let last = Number.NEGATIVE_INFINITY;
  return (status) => {
    if (performance.now() - last < INTERVAL_MS) return;
    last = performance.now();
    show(printable(status));
  };
}
