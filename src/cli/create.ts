import type { Command } from 'commander';
import { laterFeature } from '../recipe/later.js';
import { parseRecipe } from '../recipe/parse.js';
import { requireRoot, UsageError } from './fail.js';

/** Adds `wormhole create`. */
export function addCreate(program: Command): void {
  program
    .command('create')
    .description('make a link: see wormhole help create')
    .usage('[--dry-run] RECIPE...')
    .option('--dry-run', 'print each file that would be written, and change nothing')
    .argument('<recipe...>', 'the words of the recipe')
    .passThroughOptions()
    .action(create);
}

async function create(words: string[], { dryRun }: { dryRun?: boolean }): Promise<void> {
  const recipe = parseRecipe(words);
  const later = laterFeature(recipe);
  if (later !== undefined) throw new UsageError(`this version cannot create "${later}" yet`);
  const { createLink, planLink } = await import('../control/create.js');
  if (dryRun) {
    const { UNIT_DIR } = await import('../systemd/unit-files.js');
    const files = await planLink(recipe);
    process.stdout.write(files.map(({ name, text }) => `### ${UNIT_DIR}/${name}\n${text}`).join('\n'));
    return;
  }
  requireRoot('create …');
  const { id, url } = await createLink(recipe);
  process.stdout.write(`${id} ${url}\n`);
}
