import type { Command } from 'commander';
import { printable } from '../text/printable.js';
import { exitStatus, requireRoot, UsageError } from './fail.js';
import { type ProgramOptions, requireHere } from './machine.js';
import { printLine, serviceLog } from './output.js';

const HELP = `
Without options, creates, changes and deletes links to match the labels wormhole.link.NAME and wormhole.expose.NAME of containers: man
wormhole, LABELS OF CONTAINERS. systemctl enable --now wormhole-labels.path does so whenever containers come and go.
Exit status 1 if a label could not be applied; the others are applied.`;

interface Flags {
  dryRun?: boolean;
  deleteAll?: boolean;
  follow?: boolean;
  once?: boolean;
}

/** Adds `wormhole labels`, which wormhole-labels.service runs with --follow, and wormhole-labels-again.service with --once besides. */
export function addLabels(program: Command): void {
  program
    .command('labels')
    .description('create, change and delete links to match labels of containers')
    .option('--dry-run', 'print what would change, and change nothing')
    .option('--delete-all', 'delete the links of all labels, and make none')
    .option(
      '--follow',
      'continue until containers have not changed for a while (systemd runs this by itself)',
    )
    .option('--once', 'with --follow, do not wait for the next change')
    .addHelpText('after', HELP)
    .action(labels);
}

async function labels(flags: Flags, command: Command): Promise<void> {
  const { dryRun = false, deleteAll = false, follow = false, once = false } = flags;
  await requireHere(command, 'labels');
  if (follow && (dryRun || deleteAll)) throw new UsageError('--follow goes with no other option');
  if (once && !follow)
    throw new UsageError('--once goes with --follow: without both, labels looks once anyway');
  requireRoot('labels …');
  const keyFile = command.optsWithGlobals<ProgramOptions>().key;
  if (follow) {
    const { followLabels } = await import('../links/declared/follow-labels.js');
    const { info, warn } = serviceLog('wormhole-labels');
    await followLabels({ keyFile, once }, { log: info, warn });
    return;
  }
  const { applyLabels } = await import('../links/declared/labels.js');
  const { describeLabelFault, writeLabelFaults } = await import('../state/label-faults.js');
  const request = { keyFile, dryRun, deleteAll, mayDelete: () => true };
  const { faults } = await applyLabels(request, printLine);
  if (!dryRun) writeLabelFaults(faults);
  for (const fault of faults) {
    process.stderr.write(`wormhole: ${printable(describeLabelFault(fault))}\n`);
    process.exitCode = exitStatus.failure;
  }
}
