import type { Vm } from './rig/vm.ts';
import { MARKER, PATIENCE } from './tunnels.ts';

/** What port 7000 of a machine says. */
export async function ask(vm: Vm): Promise<string> {
  return (await vm.run('nc -w 60 127.0.0.1 7000 </dev/null', { check: false, timeout: 90 })).stdout;
}

/** Waits until port 7000 of a machine leads to where it should. */
export function hears(vm: Vm, when: string): Promise<boolean> {
  return vm.waitFor(async () => (await ask(vm)).includes(MARKER), {
    what: `an answer ${when}`,
    timeout: PATIENCE,
  });
}

/** The addresses to and from which a machine blocks clear text, `dst ADDRESS` each, sorted. */
export async function blocked(vm: Vm): Promise<string[]> {
  const { stdout } = await vm.run('ip xfrm policy list | grep -B1 "action block" | grep -o "dst [0-9.]*"');
  return stdout.trim().split('\n').sort();
}

/** Starts or stops the daemon of a machine, and whether it can be reached. */
export async function setDaemon(vm: Vm, state: 'start' | 'stop'): Promise<void> {
  await vm.run(`systemctl ${state} wormholed-tcp.socket; systemctl ${state} wormholed.service`, {
    timeout: PATIENCE,
  });
}
