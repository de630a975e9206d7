import * as assert from 'uvu/assert';
import { bootVm, type Vm } from './rig/vm.ts';
import type { Frame } from './rig/wire.ts';

/** The protocol number of ESP. */
export const ESP = 50;

/**
 * Seconds that a command of Wormhole may take, times SLOWNESS. With cold daemons a tunnel took eight on a busy machine; some commands
 * make several.
 */
export const PATIENCE = 100;

/** What is sent, and what of it is looked for on the wire. */
export const MARKER = 'in-clear-text-for-all-to-see';
export const PAYLOAD = Buffer.alloc(1_000_000, `${MARKER}\n`);

/** Two machines whose daemons stay, since a cold one takes longer to start than a caller waits for it. */
export async function pair(): Promise<{ alpha: Vm; beta: Vm }> {
  const [alpha, beta] = await Promise.all([bootVm({ name: 'alpha' }), bootVm({ name: 'beta' })]);
  await Promise.all([keepDaemon(alpha), keepDaemon(beta)]);
  await warm(alpha, beta);
  return { alpha, beta };
}

/** Has the daemon of a machine stay. */
export async function keepDaemon(vm: Vm): Promise<void> {
  await vm.run('sed -i s/^WORMHOLED_ARGS=.*/WORMHOLED_ARGS=--idle=86400/ /etc/wormhole/wormholed.conf');
}

/** Waits until both daemons answer. */
export async function warm(alpha: Vm, beta: Vm): Promise<void> {
  await Promise.all([warmTo(alpha, beta), warmTo(beta, alpha)]);
}

/** Waits until one daemon answers another machine in time. */
export async function warmTo(from: Vm, to: Vm): Promise<void> {
  const answered = async () =>
    (await from.run(`wormhole ping ${to.name}`, { check: false, timeout: PATIENCE })).status === 0;
  await from.waitFor(answered, { timeout: PATIENCE, what: `the daemon of ${to.name}` });
}

/** Runs `wormhole ARGS`, which has to succeed. Returns what it printed, trimmed. */
export async function wormhole(vm: Vm, args: string): Promise<string> {
  return (await vm.run(`wormhole ${args}`, { timeout: PATIENCE })).stdout.trim();
}

/** `wormhole tunnel-create`: the addresses of this end and the other. */
export async function create(vm: Vm, peer: string): Promise<[local: string, remote: string]> {
  const [local = '', remote = '', ...rest] = (await wormhole(vm, `tunnel-create ${peer}`)).split(' ');
  assert.equal(rest, []);
  return [local, remote];
}

/** Sends the payload to an address of another machine, where it has to arrive whole. Returns what crossed the wire meanwhile. */
export async function transfer(from: Vm, to: Vm, address: string): Promise<Frame[]> {
  const before = from.frames().length;
  const listening = to.spawn(`socat -u TCP-LISTEN:9000,reuseaddr,bind=${address} OPEN:/root/got,creat,trunc`);
  await to.waitFor(() => to.run('ss -Hltn sport = 9000 | grep .'), { what: 'the receiver' });
  await from.run(`socat -u - TCP:${address}:9000`, { input: PAYLOAD });
  assert.is((await listening.exited).status, 0);
  await to.run('cmp - got', { input: PAYLOAD });
  return from.frames().slice(before);
}

/** A counter of /proc/net/xfrm_stat, Documentation/networking/xfrm_proc.rst of Linux. */
export async function counter(vm: Vm, name: string): Promise<number> {
  return Number((await vm.run(`awk '$1 == "${name}" { print $2 }' /proc/net/xfrm_stat`)).stdout);
}

/** Everything of tunnels that a machine has, one item a line; empty when there is none. */
export async function traces(vm: Vm): Promise<string> {
  const { stdout } = await vm.run(`
    ip xfrm state list nokeys
    ip xfrm policy list
    ip -br link show type xfrm
    ip -4 route show table all | grep -F 'dev wh-'
    find /etc/systemd/system -name '*wormhole-tunnel@*' -o -name '.wormhole*'
    find /run/wormhole/tunnels -type f ! -name udp-port 2>/dev/null
    systemctl list-units --all --plain --no-legend 'wormhole-tunnel@*' 'wormhole-tunnel-rekey@*'
    true`);
  return stdout.trim();
}
