import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createOperations } from '../../src/daemon/operations.ts';
import { findRoute } from '../../src/daemon/routes.ts';
import { runOptions } from '../../src/docker-run/options.ts';
import { RecipeError } from '../../src/recipe/error.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';

/*
 * What docker-run is given may be secret, and what is wrong with it is told on terminals, to other machines and in journals. So
 * no message has any of it but the names of options.
 */

const SECRET = 'Sw0rdf1sh';

/** Values in the middle of which something is secret, with what slips into them: blanks, quotes, signs. */
const value = fc
  .tuple(
    fc.constantFrom(
      '',
      'A=',
      '=',
      'A B=',
      ' =',
      '/',
      '-',
      '--',
      'x:',
      'x=y,',
      'container:',
      'a b',
      '@',
      '[',
      '1',
    ),
    fc.constantFrom('', '!', ':', '/', ',x', ' x', '=', ':80', 'm', '.5'),
  )
  .map(([before, after]) => `${before}${SECRET}${after}`);

const option = fc.constantFrom(
  ...Object.entries(runOptions).flatMap(([name, { short }]) => [
    `--${name}`,
    ...(short ? [`-${short}`] : []),
  ]),
  '--env=A=B -e',
  '--label',
  '--unknown',
  '--mount type=volume,dst=/a,volume-opt=o=',
);

const args = fc
  .array(
    fc.oneof(
      fc.tuple(option, fc.constantFrom(' ', '=', ''), value).map((parts) => parts.join('')),
      fc.tuple(option, value).map(([name, text]) => `${name} '${text}'`),
      value,
      value.map((text) => `"${text}`),
    ),
    { minLength: 1, maxLength: 4 },
  )
  .map((words) => words.join(' '));

test('no message quotes what docker-run is given', () => {
  let refused = 0;
  fc.assert(
    fc.property(args, (text) => {
      for (const words of [
        ['url', ':1', 'trigger', 'docker-run', text],
        // Without the quotes around it.
        ['url', ':1', 'trigger', 'docker-run', ...text.split(' ')],
      ]) {
        try {
          parseRecipe(words);
        } catch (error) {
          assert.instance(error, RecipeError);
          assert.not.match((error as Error).message, SECRET, JSON.stringify(words));
          refused++;
        }
      }
    }),
    { numRuns: 5_000 },
  );
  assert.ok(refused > 2_000, `${refused} were refused`);
});

test('the journal of the daemon has no word of it, in quotes or not', () => {
  const settings = { keyFile: '/nowhere', overlay: '100.64.0.0/14', udpPorts: { first: 4500, last: 4599 } };
  const operations = createOperations(settings);
  const route = findRoute({ method: 'POST', url: '/v1/links' }, operations, settings);
  const described = (recipe: string[]) => route.read({ recipe }).change;
  const recipe = ['url', ':1', 'trigger', 'docker-run'];
  assert.is(described([...recipe, `-e P=${SECRET} db`]), 'create url :1 trigger docker-run …');
  assert.is(
    described([...recipe, '-e', `P=${SECRET}`, 'db', 'child', 'url', ':2', 'tail']),
    'create url :1 trigger docker-run … child url :2 tail',
  );
});

test('what is wrong, and where, is told all the same', () => {
  const message = (text: string) => {
    try {
      parseRecipe(['url', ':1', 'trigger', 'docker-run', text]);
    } catch (error) {
      return (error as Error).message;
    }
    return 'it was understood';
  };
  assert.match(
    message(`-d -e ${SECRET} db`),
    /^docker-run \(word 5\): -e \(word 2 of its arguments\): write NAME=VALUE/,
  );
  assert.match(
    message(`-e A=B ${SECRET}! db`),
    /^docker-run \(word 5\): word 3 of its arguments cannot be the name of an image/,
  );
  assert.match(message('-m lots db'), /-m \(word 1 of its arguments\): write a size, such as 512m/);
});

test.run();
