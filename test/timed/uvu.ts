// uvu, except that a text that does not match is told, and that what each test takes is appended to the file $WORMHOLE_TEST_TIMES when the
// process ends: a line of JSON each, as `TestTime`.
import { appendFileSync } from 'node:fs';
import { type Callback, suite as plainSuite, type Test } from 'uvu';

/** What a test took. */
export interface TestTime {
  test: string;
  seconds: number;
}

/** Characters of a text that are told. */
const TEXT_CHARACTERS = 300;

const times: TestTime[] = [];

function timed<T>(test: Test<T>): Test<T> {
  const timing =
    (add: (name: string, body: Callback<T>) => void) =>
    (name: string, body: Callback<T>): void =>
      add(name, async (context) => {
        const begin = performance.now();
        try {
          await body(context);
        } catch (error) {
          throw withText(error);
        } finally {
          times.push({ test: name, seconds: (performance.now() - begin) / 1000 });
        }
      });
  return Object.assign(timing(test), test, { only: timing(test.only) });
}

/** Adds the text to a failure of assert.match or assert.not.match, which says the pattern alone. */
function withText(error: unknown): unknown {
  if (!(error instanceof Error) || !('operator' in error) || !('actual' in error)) return error;
  const { operator, actual } = error;
  if (/match$/.test(String(operator)) && typeof actual === 'string')
    error.message += `: ${JSON.stringify(actual.slice(0, TEXT_CHARACTERS))}`;
  return error;
}

export const suite: typeof plainSuite = (...args) => timed(plainSuite(...args));
export const test = suite();

const file = process.env.WORMHOLE_TEST_TIMES;
if (file)
  process.on('exit', () => appendFileSync(file, times.map((time) => `${JSON.stringify(time)}\n`).join('')));
