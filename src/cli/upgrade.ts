import type { Command } from 'commander';
import type { EditedUnit } from '../links/upgrade.js';
import { requireRoot } from './fail.js';
import { requireHere } from './machine.js';

/** Adds `wormhole upgrade`, which install.sh runs. */
export function addUpgrade(program: Command): void {
  program
    .command('upgrade')
    .description('render the units of links and tunnels again, as this version writes them')
    .option('--force', 'replace units that somebody has edited too; a copy of each is kept')
    .argument('[id...]', 'the ids of links, the default being all links and tunnels')
    .action(async (ids: string[], { force = false }: { force?: boolean }, command: Command) => {
      await requireHere(command, 'upgrade');
      requireRoot(`upgrade ${ids.join(' ')}`);
      const { REPLACED_DIR, upgradeUnits } = await import('../links/upgrade.js');
      const { written, replaced, left, unreadable } = await upgradeUnits({
        ...(ids.length > 0 && { ids }),
        force,
      });
      if (written.length > 0) process.stdout.write(`upgraded ${written.join(' ')}\n`);
      if (replaced.length > 0)
        process.stdout.write(`kept what was there before in ${REPLACED_DIR}: ${replaced.join(' ')}\n`);
      for (const unit of left) await reportEdited(unit);
      for (const { unit, reason } of unreadable)
        process.stderr.write(`wormhole: ${unit} is left alone: ${reason}\n`);
    });
}

async function reportEdited({ unit, path, current, rendered }: EditedUnit): Promise<void> {
  const { createTwoFilesPatch, FILE_HEADERS_ONLY } = await import('diff');
  process.stderr.write(
    `wormhole: ${unit} was edited and is left alone. This version would change it as follows (wormhole upgrade --force applies it; use systemctl edit ${unit} for changes that survive upgrades):\n`,
  );
  process.stderr.write(
    createTwoFilesPatch(path, `${path} of this version`, current, rendered, '', '', {
      context: 1,
      headerOptions: FILE_HEADERS_ONLY,
    }),
  );
}
