import * as assert from 'uvu/assert';
import { boot, type Host, type HostOptions } from './rig/host.ts';
import type { Result } from './rig/shell.ts';

/** Boots a host on which Wormhole is installed, open to other hosts. What install.sh does on a running one is tested in install.test.ts. */
export function installedHost(options: Omit<HostOptions, 'wormhole'>): Promise<Host> {
  return boot({ ...options, wormhole: true });
}

/** Runs `wormhole ARGS` on a host, whatever comes of it. */
export function wormhole(host: Host, args: string, timeout = 120): Promise<Result> {
  return host.run(`wormhole ${args}`, { check: false, timeout });
}

/** Runs `wormhole ARGS`, which has to succeed and to say nothing on stderr. Returns what it printed, trimmed. */
export async function succeeds(host: Host, args: string): Promise<string> {
  const { stdout, stderr, status } = await wormhole(host, args);
  assert.is(stderr, '', `wormhole ${args}`);
  assert.is(status, 0, `wormhole ${args}`);
  return stdout.trim();
}

/** Runs `wormhole ARGS`, which has to fail with that status and one line on stderr that matches. */
export async function fails(host: Host, args: string, expected: RegExp, status = 1): Promise<void> {
  const result = await wormhole(host, args);
  assert.match(result.stderr, expected, `wormhole ${args}`);
  assert.match(result.stderr, /^wormhole: [^\n]+\n$/, `one line of wormhole ${args}`);
  assert.is(result.stdout, '', `stdout of wormhole ${args}`);
  assert.is(result.status, status, `exit status of wormhole ${args}`);
}

/** Everything of links that a host has: files, symlinks, units in memory, mounts, processes. Who it is, who others are, and what has flowed on which day stay. */
export async function traces(host: Host): Promise<string> {
  const { stdout } = await host.run(`
    find /etc/systemd/system -name '*wormhole-*' ! -name 'wormhole-netns@.service' ! -name 'wormhole-unit@.target' ! -name 'wormhole-start-failure@.service' ! -name 'wormhole-sync.*' ! -name 'wormhole-sync@.path' ! -name 'wormhole-sync-again.*' ! -name 'wormhole-apply.*' ! -name 'wormhole-apply-again.*' ! -name 'wormhole-far.*' ! -name 'wormhole-counters*' ! -name 'wormhole-metrics*' ! -name 'wormhole-tunnel-*' ! -name 'wormhole-labels.*' ! -name 'wormhole-labels@.path' ! -name 'wormhole-labels-again.*' ! -name 'wormhole-services*' ! -name 'wormhole-health@.service'
    systemctl list-units --all --plain --no-legend 'wormhole-*' | grep -v 'wormhole-\\(apply\\|apply-again\\|sync\\|sync@[^ ]*\\|sync-again\\|far\\|tunnel-guard\\|counters\\|counters-save\\|metrics\\|metrics-write\\|labels\\|labels@[^ ]*\\|labels-again\\|services-watch\\|services-register\\|services@_all\\)\\.\\|system-wormhole'
    grep /run/wormhole /proc/self/mountinfo
    find /run/wormhole /var/lib/wormhole -path /var/lib/wormhole/root -prune -o ! -name '*.lock' ! -name etcd-token ! -name files-read ! -type d -print 2>/dev/null | grep -v '^/var/lib/wormhole/\\(identity.secret\\|peers/\\|traffic/\\)'
    pgrep -af '[f]orwarder.cjs'
    true`);
  return stdout.trim();
}

/** Waits until nothing of any link is left; systemd stops what is not needed any more a moment after the command. */
export async function leavesNothing(host: Host): Promise<void> {
  await host
    .waitFor(async () => (await traces(host)) === '', { timeout: 10, what: 'all traces of links to go' })
    .catch(async () => assert.is(await traces(host), ''));
}

/**
 * What systemd-analyze finds wrong with the units of Wormhole in a directory. Templates are verified as instance i; of one whose instance is the
 * name of another unit, that is a real one.
 */
export async function faultsOfUnits(host: Host, directory: string): Promise<string> {
  const { stdout } = await host.run(
    `mkdir /run/instances
    printf '[Service]\\nExecStart=/bin/true\\n' >/run/instances/wormhole-i.service
    ln -s ${directory}/wormhole-unit@.target /run/instances/wormhole-unit@wormholed.service.target
    cd ${directory} && systemd-analyze verify --man=no $(ls wormhole*.* -d | grep -v '^wormhole-unit@') /run/instances/* 2>&1
    rm -r /run/instances`,
    { check: false },
  );
  return stdout.replace(/^.*@\.service.*instance.*\n/gm, '');
}
