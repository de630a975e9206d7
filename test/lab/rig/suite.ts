import { type Callback, suite, type Test } from 'uvu';
import { bootedHosts, type Host } from './host.ts';
import { tail } from './shell.ts';

/**
 * Adds a uvu suite on hosts of its own, and runs it. When a test fails, what has failed on the hosts and what their
 * journals have said since it began is printed. All hosts are powered off after the last test.
 *
 * @param start boots the hosts and returns what the tests need; when it throws, every test fails with its error
 * @param tests adds the tests; `at()` is what `start` returned
 */
export function labSuite<T>(
  name: string,
  start: () => Promise<T>,
  tests: (test: Test, at: () => T) => void,
): void {
  const inner = suite(name);
  let began = Date.now();
  let outcome: { value: T } | { error: unknown } | undefined;
  inner.before(async () => {
    // uvu would pass over all tests without a word.
    try {
      outcome = { value: await start() };
    } catch (error) {
      outcome = { error };
      await reportHosts(began);
    }
  });
  inner.after(async () => {
    await Promise.all(bootedHosts().map((host) => host.powerOff()));
  });
  const reported = (body: Callback): Callback => {
    return async (context) => {
      if (outcome && 'error' in outcome) throw outcome.error;
      began = Date.now();
      try {
        await body(context);
      } catch (error) {
        await reportHosts(began);
        throw error;
      }
    };
  };
  const add = (title: string, body: Callback) => inner(title, reported(body));
  const only = (title: string, body: Callback) => inner.only(title, reported(body));
  tests(Object.assign(add, inner, { only }) as Test, () => {
    if (!outcome || !('value' in outcome)) throw new Error(`the hosts of "${name}" are only there in a test`);
    return outcome.value;
  });
  inner.run();
}

/** Prints the failed units of all hosts, and the last 200 lines of their journals since `began` (ms since 1970). */
async function reportHosts(began: number): Promise<void> {
  for (const host of bootedHosts()) console.log(await describe(host, began));
}

async function describe(host: Host, began: number): Promise<string> {
  const failed = await host.failedUnits().catch((error: Error) => error.message);
  const journal = await host
    .journal('--output=short-precise', `--since=@${Math.floor(began / 1000)}`)
    .catch((error: Error) => error.message);
  const log = tail(journal, 200).replaceAll(/^/gm, '  ');
  return `\n--- ${host.name}: failed units: ${failed || 'none'}; its journal since the test began:\n${log}\n---`;
}
