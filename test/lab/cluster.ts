import { installedHost } from './installed.ts';
import type { Host } from './rig/host.ts';

/** Where the key is. */
export const KEY_FILE = '/etc/wormhole/key.secret';

/** Three hosts without Docker that have Wormhole and one key. The daemon of beta ends after 10 s without a caller. */
export interface Cluster {
  alpha: Host;
  beta: Host;
  gamma: Host;
}

/** Boots a {@link Cluster}. */
export async function cluster(): Promise<Cluster> {
  const alpha = await installedHost({ name: 'alpha', docker: false });
  const beta = await installedHost({ name: 'beta', docker: false });
  const gamma = await installedHost({ name: 'gamma', docker: false });
  const key = (await alpha.run(`cat ${KEY_FILE}`)).stdout;
  for (const host of [beta, gamma]) await writeKey(host, key);
  await beta.run('sed -i s/^WORMHOLED_ARGS=.*/WORMHOLED_ARGS=--idle=10/ /etc/wormhole/wormholed.conf');
  return { alpha, beta, gamma };
}

/** Replaces the key as an administrator would: written beside it, and renamed. */
export async function writeKey(host: Host, text: string): Promise<void> {
  await host.run(`umask 077; cat >${KEY_FILE}.new && mv ${KEY_FILE}.new ${KEY_FILE}`, { input: text });
}

/** What the daemon of a host has written since this was asked the last time. */
export async function said(host: Host): Promise<string> {
  await host.run('journalctl --sync');
  const log = 'journalctl -q -o cat -t wormholed --cursor-file=/var/tmp/said --no-pager -n all';
  return (await host.run(log, { check: false })).stdout;
}

/** Whether a unit of a host is active. */
export async function isActive(host: Host, unit: string): Promise<boolean> {
  const { stdout } = await host.run(`systemctl is-active ${unit}`, { check: false });
  return stdout === 'active\n';
}

/** Waits until the daemon of beta has ended. */
export function daemonEnds(host: Host): Promise<boolean> {
  const ended = async () => !(await isActive(host, 'wormholed.service'));
  return host.waitFor(ended, { timeout: 30, what: 'the daemon to end' });
}

/** Whether the daemon of a host works on a request that needs the lock of links. */
export async function wantsLock(host: Host): Promise<boolean> {
  const open = 'ls -l /proc/$(systemctl show -P MainPID wormholed.service)/fd';
  return (await host.run(open, { check: false })).stdout.includes('/run/wormhole/links.lock');
}
