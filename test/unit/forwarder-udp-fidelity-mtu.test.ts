import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { LOOPBACK_MTU } from './forwarder-udp-fidelity-run.ts';

/*
 * The scripts of forwarder-udp-fidelity.test.ts in a network namespace of their own, whose loopback interface has the smallest MTU of
 * IPv6: larger datagrams cross it in fragments, and the kernel refuses to send those together. Ports are scarce there, so the kernel gives
 * those of closed sockets of the relay to others soon.
 */

if (process.env[LOOPBACK_MTU] === undefined) {
  const isRoot = process.geteuid?.() === 0;
  const self = [process.execPath, '--import', 'tsx', fileURLToPath(import.meta.url)];
  const { status } = spawnSync(
    'unshare',
    [
      ...(isRoot ? [] : ['--map-root-user']),
      ...[
        '--net',
        'sh',
        '-c',
        `ip link set lo mtu 1280 up && echo 32768 35267 >/proc/sys/net/ipv4/ip_local_port_range && exec "$@"`,
        'sh',
        ...self,
      ],
    ],
    { stdio: 'inherit', env: { ...process.env, [LOOPBACK_MTU]: '1280' } },
  );
  process.exit(status ?? 1);
}
await import('./forwarder-udp-fidelity.test.ts');
