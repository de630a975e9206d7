import { Argument, type Command } from 'commander';
import { printable } from '../text/printable.js';
import { candidatesFor } from './candidates.js';
import { COMPLETION_SCRIPTS, type Shell } from './completion-scripts.js';

/**
 * Adds `wormhole completion`, and the hidden command that its scripts call. The commands and options come from commander's own
 * description of them, and the words of recipes from the parser, so neither is said twice. A library for completion would bring its own
 * scripts, which know nothing of a word that a colon breaks, and a list of commands beside ours.
 */
export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a script that lets a shell complete what is typed: install.sh installs it')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']))
    .action((shell: Shell) => {
      process.stdout.write(COMPLETION_SCRIPTS[shell]);
    });
  program
    .command('__complete', { hidden: true })
    .description('print what may be typed next, one candidate per line')
    .option('--line', 'the words are those of one line of a shell, up to the cursor')
    .argument('[word...]', 'the words after the name of the program, the last one being typed')
    .action(async (typed: string[], { line = false }: { line?: boolean }) => {
      try {
        await complete(program, line ? wordsOfLine(typed[0] ?? '').slice(1) : typed);
      } catch {
        // Somebody is typing: a message would be in the way.
      }
    });
}

async function complete(program: Command, typed: string[]): Promise<void> {
  const { words, files = false } = await candidatesFor(program, typed);
  const current = typed.at(-1) ?? '';
  const fitting = words.filter(({ text }) => text.startsWith(current) && !/\s/.test(text));
  const lines = fitting.map(({ text, about = '' }) => `${printable(text)}\t${printable(about)}\n`);
  process.stdout.write(`${files ? 'files' : 'words'}\n${lines.join('')}`);
}

/** The words of a line that is being typed: a quote may be open at its end. */
function wordsOfLine(line: string): string[] {
  const words = [''];
  let quote = '';
  let isNew = true;
  for (let at = 0; at < line.length; at++) {
    const char = line[at] ?? '';
    if (quote === '' && /\s/.test(char)) {
      if (!isNew) words.push('');
      isNew = true;
      continue;
    }
    isNew = false;
    if (char === quote) quote = '';
    else if (quote === '' && (char === '"' || char === "'")) quote = char;
    else if (char === '\\' && quote !== "'") words[words.length - 1] += line[++at] ?? '';
    else words[words.length - 1] += char;
  }
  return words;
}
