import { listens } from './listening.ts';
import type { Host } from './rig/host.ts';

/** Starts two servers on a host, at 127.0.0.1:4100 and 4200, that answer each line with their name, `one` or `two`, and the line. */
export async function startNamedServers(host: Host): Promise<void> {
  for (const [port, name] of [
    [4100, 'one'],
    [4200, 'two'],
  ] as const) {
    await host.run(
      `systemd-run --unit ${name} socat -t 20 TCP-LISTEN:${port},bind=127.0.0.1,fork,reuseaddr SYSTEM:'while read line; do echo ${name} $line; done'`,
    );
    await listens(host, port);
  }
}
