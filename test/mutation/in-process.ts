import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { declareClassPlugin, PluginKind } from '@stryker-mutator/api/plugin';
import {
  DryRunStatus,
  type MutantRunOptions,
  type TestRunner,
  TestStatus,
  toMutantRunResult,
} from '@stryker-mutator/api/test-runner';

/*
 * A test runner of Stryker's that stays in its process: what costs most of a command for each mutant is to start it. The bundle of the
 * tests, in which all mutants are and one at a time is active, is loaded again for each of them, so also what is computed when a
 * module is loaded is tried. Stryker starts another process when a mutant does not end, and after some number of them.
 */

/** A suite of uvu: runs its tests and returns what failed, as text, or true. */
type Suite = () => Promise<[errors: string | true]>;

const shared = globalThis as {
  UVU_DEFER?: number;
  UVU_QUEUE?: (Suite | null)[][];
  __stryker__?: { activeMutant?: string | undefined };
};

let loads = 0;

/** Loads all tests and runs them up to the first suite that fails. Returns what failed. */
async function runTests(activeMutant: string | undefined): Promise<string | undefined> {
  shared.UVU_DEFER = 1;
  const { test } = await import('uvu');
  shared.__stryker__ ??= {};
  shared.__stryker__.activeMutant = activeMutant;
  shared.UVU_QUEUE = [[]];
  try {
    await import(`${pathToFileURL(join(process.cwd(), 'test/unit/.mutated/tests.mjs'))}?${loads++}`);
  } catch (error) {
    // What the modules before it have added to the common suite is no part of the next run.
    test.run();
    return `the tests cannot be loaded: ${error}`;
  }
  for (const suite of shared.UVU_QUEUE[0] ?? []) {
    const [errors = true] = (await suite?.()) ?? [];
    if (errors !== true) return errors;
  }
  return undefined;
}

class InProcess implements TestRunner {
  capabilities() {
    return { reloadEnvironment: true };
  }

  async dryRun() {
    const began = performance.now();
    const failureMessage = await runTests(undefined);
    const test = { id: 'all', name: 'all', timeSpentMs: performance.now() - began };
    const status = failureMessage === undefined ? TestStatus.Success : TestStatus.Failed;
    return {
      status: DryRunStatus.Complete as const,
      tests: [{ ...test, status, failureMessage: failureMessage ?? '' } as never],
    };
  }

  async mutantRun({ activeMutant }: MutantRunOptions) {
    const failureMessage = await runTests(activeMutant.id);
    const test = { id: 'all', name: 'all', timeSpentMs: 0 };
    const status = failureMessage === undefined ? TestStatus.Success : TestStatus.Failed;
    return toMutantRunResult({
      status: DryRunStatus.Complete as const,
      tests: [{ ...test, status, failureMessage: failureMessage ?? '' } as never],
    });
  }
}

/** What Stryker looks for in a plugin. */
export const strykerPlugins = [declareClassPlugin(PluginKind.TestRunner, 'in-process', InProcess)];
