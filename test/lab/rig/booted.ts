import { readFileSync } from 'node:fs';
import { type Result, type RunOptions, tail } from './shell.ts';
import { waitFor } from './wait.ts';

/** A host whose boot is waited for. */
interface Booting {
  name: string;
  run(command: string, options?: RunOptions): Promise<Result>;
  failedUnits(): Promise<string>;
}

/** How its boot is waited for. */
export interface BootOptions {
  /** Whether it has gone off again. */
  isOff: () => boolean;
  /** The path of what it prints at boot. */
  console: string;
  /** Seconds that a boot may take. */
  timeout: number;
  /** Do not throw when units have failed. */
  allowFailed: boolean;
}

/** Waits until systemd says that `host` is running. Throws when it is not, with the failed units or the end of the console. */
export async function hasBooted(host: Booting, options: BootOptions): Promise<void> {
  const { isOff, console, timeout, allowFailed } = options;
  const end = () => tail(readFileSync(console, 'utf8'), 20);
  const ask = async () => {
    if (isOff()) return 'off';
    const { stdout } = await host.run('systemctl is-system-running --wait', { timeout, check: false });
    return ['running', 'degraded', 'maintenance'].includes(stdout.trim()) && stdout.trim();
  };
  const state = await waitFor(ask, { timeout, what: `${host.name} to boot` }).catch((error) => {
    throw new Error(`${error.message}\n${end()}`);
  });
  if (state === 'running' || (state === 'degraded' && allowFailed)) return;
  throw new Error(
    `${host.name} is ${state} after its boot\n${state === 'off' ? end() : await host.failedUnits()}`,
  );
}
