import { readdirSync, readFileSync } from 'node:fs';
import { split } from 'shlex';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { recipeHelp } from '../../src/cli/recipe-help.ts';
import { runOptions } from '../../src/docker-run/options.ts';
import { isKeyword, KEYWORDS } from '../../src/recipe/keywords.ts';
import { RESERVED_ENDINGS, RESERVED_IDS } from '../../src/recipe/names.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import { recipeText } from '../../src/recipe/text.ts';

/* Every recipe that the documentation shows is read, and doc/recipe.md, the help and the man page have all words of the language. */

const ROOT = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');

/** A command `wormhole create …` in a text, and the lines that follow it: what it prints, or the same recipe in other words. */
interface Example {
  command: string;
  words: string[];
  /** What the command prints on stderr. */
  message?: string;
  /** The recipe with nothing left out. */
  whole?: string;
}

/** The examples in lines of a text that begin with a blank, and go on after a backslash. */
function examplesIn(text: string): Example[] {
  const lines = text.replaceAll(/ *\\\n */g, ' ').split('\n');
  return lines.flatMap((line, at) => {
    const command = /^\s+(?:\w+=\S+ )?(wormhole create [^.].*)$/.exec(line)?.[1];
    if (command === undefined || command.includes('…')) return [];
    const next = lines[at + 1]?.trim() ?? '';
    const message = /^wormhole: (.*)$/.exec(next)?.[1];
    const whole = /^# (.*)$/.exec(next)?.[1];
    return [{ command, words: wordsOf(command), ...(message && { message }), ...(whole && { whole }) }];
  });
}

/** The words of the recipe of a command: a shell's, without comments, with names for variables, and without options of create. */
function wordsOf(command: string): string[] {
  const bare = command.replace(/\s+#.*$/, '').split(';')[0] ?? '';
  const words = split(bare.replaceAll(/\$(\w+)/g, '$1')).slice(2);
  const first = words.findIndex((word, at) => isKeyword(word) || !isOption(words, at));
  return words.slice(first);
}

const SWITCHES = ['--dry-run', '--replace'];
const isOption = (words: string[], at: number) =>
  words[at]?.startsWith('--') || (words[at - 1]?.startsWith('--') && !SWITCHES.includes(words[at - 1] ?? ''));

const test = suite('the examples of the documentation');

const documents = readdirSync(new URL('doc', ROOT)).filter((name) => name !== 'images');
const pages = ['README.md', ...documents.map((name) => `doc/${name}`)];
const man = read('man/wormhole.1')
  .replaceAll('\\-', '-')
  .replaceAll(/^(?=wormhole create)/gm, '  ');
const texts = new Map([
  ...pages.map((page) => [page, read(page)] as const),
  ['help', recipeHelp],
  ['man', man],
]);

for (const [name, text] of texts) {
  const examples = examplesIn(text);
  if (examples.length === 0) continue;
  test(`${name}: ${examples.length} recipes`, () => {
    for (const { command, words, message, whole } of examples) {
      let said: string | undefined;
      try {
        const recipe = parseRecipe(words);
        if (whole !== undefined) assert.is(recipeText(recipe), whole, command);
      } catch (error) {
        if (!(error instanceof Error) || error.name !== 'RecipeError') throw error;
        said = error.message;
      }
      assert.is(said, message, command);
    }
  });
}

const reference = texts.get('doc/recipe.md') ?? '';

test('the pages with recipes are seen', () => {
  const counts = new Map([...texts].map(([name, text]) => [name, examplesIn(text).length]));
  for (const [name, least] of [
    ['README.md', 15],
    ['doc/recipe.md', 50],
    ['help', 14],
    ['man', 6],
  ] as const)
    assert.ok((counts.get(name) ?? 0) >= least, `${name}: ${counts.get(name)}`);
});

test('each word has an entry in the reference, with an example that works, and is in the help and the man page', () => {
  const entries = reference.split(/^##+ /m).slice(1);
  for (const word of KEYWORDS) {
    const entry = entries.find((text) => new RegExp(`^.*\`${word}[ \`]`).test(text));
    assert.ok(entry, word);
    const examples = examplesIn(entry ?? '').filter(({ message }) => message === undefined);
    assert.ok(
      examples.some(({ words }) => words.includes(word)),
      `${word} has an example`,
    );
    assert.match(recipeHelp, new RegExp(`^ +(.*, )?${word}\\b`, 'm'));
    assert.match(man, new RegExp(`^\\.(B|BI|BR)\\b.*\\b${word}\\b`, 'm'));
  }
});

test('the reference has all protocols, options of docker-run and reserved ids', () => {
  for (const name of ['tcp', 'udp', 'unix', 'unixgram', 'unixpacket', ...RESERVED_IDS, ...RESERVED_ENDINGS])
    assert.ok(reference.includes(`\`${name}\``), name);
  const listed = /^`--add-host`[\s\S]*?\n\n/m.exec(reference)?.[0] ?? '';
  const expected = Object.entries(runOptions)
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, { short }]) => `\`--${name}\`${short === undefined ? '' : ` (\`-${short}\`)`}`);
  assert.equal(listed.trim().split(/\s+(?=`--)/), expected);
});

test.run();
