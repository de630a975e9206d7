import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Command, CommanderError } from 'commander';
import { split } from 'shlex';
import { requireRoot, UsageError } from './fail.js';
import { requireHere } from './machine.js';

/** The editors that are looked for when no variable names one, as systemctl(1) does. */
const EDITORS = ['editor', 'nano', 'vim', 'vi'];

export function addEdit(program: Command): void {
  program
    .command('edit')
    .description('edit the recipe of a link, and change the link in place')
    .argument('<id>', 'the id that create printed, and list shows')
    .action(async (id: string, _: object, command: Command) => {
      await requireHere(command, 'edit', 'leave out -H, or use wormhole -H … create --replace');
      requireRoot(`edit ${id}`);
      const { editableLink } = await import('../links/editable.js');
      const before = editableLink(id);
      const file = join(mkdtempSync(join(tmpdir(), 'wormhole-edit-')), `${id}.recipe`);
      writeFileSync(file, before.text, { mode: 0o600 });
      let isKept = false;
      try {
        runEditor(file);
        const text = readFileSync(file, 'utf8');
        if (text === before.text) {
          process.stderr.write(`wormhole: link "${id}" stays as it is: the text is the same\n`);
          return;
        }
        isKept = true;
        await change(program, before.requireSameId(wordsOf(text)));
        isKept = false;
      } catch (error) {
        const what = isKept ? `; what you wrote is kept in ${file}` : '';
        // commander has printed its own message already.
        if (error instanceof CommanderError && isKept)
          process.stderr.write(`wormhole: link "${id}" stays as it was; what you wrote is kept in ${file}\n`);
        else if (error instanceof Error) error.message += `; link "${id}" stays as it was${what}`;
        throw error;
      } finally {
        if (!isKept) rmSync(dirname(file), { recursive: true, force: true });
      }
    });
}

/** Does what `wormhole create --replace WORDS` does. */
async function change(program: Command, words: string[]): Promise<void> {
  const create = program.commands.find((command) => command.name() === 'create');
  await create?.parseAsync(['--replace', ...words], { from: 'user' });
}

/** The words of a text in which lines that begin with # are comments. @throws UsageError */
function wordsOf(text: string): string[] {
  const lines = text.split('\n').filter((line) => !/^\s*#/.test(line));
  try {
    return split(lines.join('\n'));
  } catch {
    throw new UsageError('the recipe ends inside a quote or after a backslash');
  }
}

/** @throws Error when there is no editor, or it says that it has failed */
function runEditor(file: string): void {
  const { SYSTEMD_EDITOR, VISUAL, EDITOR } = process.env;
  const chosen = [SYSTEMD_EDITOR, VISUAL, EDITOR].find((value) => value !== undefined && value !== '');
  for (const editor of chosen === undefined ? EDITORS : [chosen]) {
    const [program = '', ...args] = split(editor);
    const { error, status, signal } = spawnSync(program, [...args, file], { stdio: 'inherit' });
    const isMissing = (error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
    if (isMissing && chosen === undefined) continue;
    if (isMissing) throw new Error(`there is no editor "${editor}": set $EDITOR to one`);
    if (error) throw error;
    if (status !== 0) throw new Error(`the editor "${editor}" has failed (${signal ?? `status ${status}`})`);
    return;
  }
  throw new Error('there is no editor: set $EDITOR to one');
}
