import { machineSuite } from '../lab/suite.ts';
import { bootedVms } from './rig/vm.ts';

/**
 * A uvu suite on virtual machines of its own: boots them before the first test, and takes them away after the last. When a
 * test fails, the end of their journals is printed behind it.
 *
 * @param start boots the machines and returns what the tests need
 * @param tests adds the tests; `at()` is what `start` returned
 */
export function vmSuite<T>(
  name: string,
  start: () => Promise<T>,
  tests: (test: (what: string, body: () => Promise<void>) => void, at: () => T) => void,
): void {
  machineSuite(bootedVms, name, start, tests);
}
