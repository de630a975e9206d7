// uvu, except that what each test takes is appended to the file $WORMHOLE_TEST_TIMES when the process ends: a line of JSON
// each, as `TestTime`.
import { appendFileSync } from 'node:fs';
import { type Callback, suite as plainSuite, type Test } from 'uvu';

/** What a test took. */
export interface TestTime {
  test: string;
  seconds: number;
}

const times: TestTime[] = [];

function timed<T>(test: Test<T>): Test<T> {
  const timing =
    (add: (name: string, body: Callback<T>) => void) =>
    (name: string, body: Callback<T>): void =>
      add(name, async (context) => {
        const begin = performance.now();
        try {
          await body(context);
        } finally {
          times.push({ test: name, seconds: (performance.now() - begin) / 1000 });
        }
      });
  return Object.assign(timing(test), test, { only: timing(test.only) });
}

export const suite: typeof plainSuite = (...args) => timed(plainSuite(...args));
export const test = suite();

const file = process.env.WORMHOLE_TEST_TIMES;
if (file)
  process.on('exit', () => appendFileSync(file, times.map((time) => `${JSON.stringify(time)}\n`).join('')));
