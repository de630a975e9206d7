import { suite, type Test } from 'uvu';
import { bootedHosts, type Host } from './rig/host.ts';
import { tail } from './rig/shell.ts';

/** What a suite does with a machine by itself. */
interface Machine {
  name: string;
  journal(...args: string[]): Promise<string>;
  powerOff(): Promise<void>;
}

/** Adds tests; `at()` is what the suite started with. */
type Tests<T> = (test: (what: string, body: () => Promise<void>) => void, at: () => T) => void;

/**
 * A uvu suite on hosts of its own: boots them before the first test, and takes them away after the last. When a test
 * fails, the end of the hosts' journals is printed behind it.
 *
 * @param start boots the hosts and returns what the tests need
 * @param tests adds the tests
 */
export function labSuite<T = Host>(name: string, start: () => Promise<T>, tests: Tests<T>): void {
  machineSuite(bootedHosts, name, start, tests);
}

/** As `labSuite`, on machines of any kind; `booted` returns those that have not been powered off. */
export function machineSuite<T>(
  booted: () => Machine[],
  name: string,
  start: () => Promise<T>,
  tests: Tests<T>,
): void {
  const test: Test = suite(name);
  let started: { hosts: T } | { failure: unknown } = { failure: new Error('not started') };
  // uvu says nothing of a hook that throws, and counts its tests neither as passed nor as failed.
  test.before(async () => {
    started = await start().then(
      (hosts) => ({ hosts }),
      (failure) => ({ failure }),
    );
  });
  test.after(async () => {
    for (const host of booted()) await host.powerOff();
  });
  tests(
    (what, body) => {
      test(what, async () => {
        const began = new Date();
        try {
          await body();
        } catch (error) {
          process.stdout.write(`\n--- "${what}" fails: ${(error as Error).message}\n`);
          await printJournals(booted(), what, began);
          throw error;
        }
      });
    },
    () => {
      if ('failure' in started) throw started.failure;
      return started.hosts;
    },
  );
  test.run();
}

async function printJournals(hosts: Machine[], what: string, since: Date): Promise<void> {
  for (const host of hosts) {
    // With --since, journalctl -n 60 prints the first 60 lines, not the last.
    const lines = await host.journal(`--since=@${Math.floor(since.getTime() / 1000)}`).catch(String);
    process.stdout.write(`\n--- journal of ${host.name} during "${what}"\n${tail(lines, 60)}\n---\n`);
  }
}
