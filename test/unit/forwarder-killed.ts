import { programs } from '../programs.ts';
import { inLine } from './forwarder-fidelity-run.ts';
import { type Forwarder, launch } from './forwarder-launch.ts';

/** How a forwarder is killed: see service-manager.ts. */
export interface Kills {
  kills: number;
  seed: number;
  /** The event with which `age` begins, ms: the first kill comes after that. */
  begin: 'READY' | 'FDSTORE' | 'SIGUSR2';
  age: number;
  /** Further arguments of the forwarder. */
  args?: string[];
}

/** Starts a forwarder that is killed many times, and started again as systemd does. */
export function launchKilled(to: number, { kills, seed, begin, age, args = [] }: Kills): Promise<Forwarder> {
  return launch({
    to,
    prepare: inLine,
    args: ['--idle', '0', '--dial-timeout', '300', ...args],
    command: [process.execPath, '--import', 'tsx', new URL('service-manager.ts', import.meta.url).pathname],
    env: {
      KILLS: String(kills),
      SEED: String(seed),
      AGE: String(age),
      BEGIN: begin,
      PROGRAM: programs.forwarder,
    },
  });
}
