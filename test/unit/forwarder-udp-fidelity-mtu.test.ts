import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { LOOPBACK_MTU } from './forwarder-udp-fidelity-run.ts';

/*
 * The scripts of forwarder-udp-fidelity.test.ts in a network namespace of their own, whose loopback interface has the smallest MTU of
 * IPv6: larger datagrams cross it in fragments, and the kernel refuses to send those together. Ports are scarce there, so the kernel gives
 * those of closed sockets of the relay to others soon.
 *
 * All run on one processor. A kernel with several gives up a datagram when 64 fragments of others from the same address have come between
 * two of its own (net.ipv4.ipfrag_max_dist), and fragments that a sender has sent on one processor arrive after those that it has sent on
 * the next: over a direct connection too, datagrams of two senders at once are lost or change places.
 */

/** Sets the network namespace up, and runs what it is given there. */
const IN_NAMESPACE = `
ip link set lo mtu 1280 up
echo 32768 35267 >/proc/sys/net/ipv4/ip_local_port_range
echo 0 >/proc/sys/net/ipv4/ipfrag_max_dist
processor=$(taskset --cpu-list --pid $$ | sed 's/.*: //; s/[,-].*//')
exec taskset --cpu-list "$processor" "$@"`;

if (process.env[LOOPBACK_MTU] === undefined) {
  const isRoot = process.geteuid?.() === 0;
  const self = [process.execPath, '--import', 'tsx', fileURLToPath(import.meta.url)];
  const { status } = spawnSync(
    'unshare',
    [...(isRoot ? [] : ['--map-root-user']), ...['--net', 'sh', '-ec', IN_NAMESPACE, 'sh', ...self]],
    { stdio: 'inherit', env: { ...process.env, [LOOPBACK_MTU]: '1280' } },
  );
  process.exit(status ?? 1);
}
await import('./forwarder-udp-fidelity.test.ts');
