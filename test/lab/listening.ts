import type { Host } from './rig/host.ts';

/** Where a program is to listen, if not at a TCP port of the host itself. */
export interface Place {
  /** The container in whose network namespace it is. */
  container?: string;
  /** Whether the port is one of UDP. Default false. */
  isUdp?: boolean;
}

/**
 * Waits until a program listens at a port. One that was only just started, by systemd-run or docker run, does not yet: on a busy
 * machine, a client may be there before it.
 */
export async function listens(host: Host, port: number, place: Place = {}): Promise<void> {
  const { container, isUdp = false } = place;
  const run = container === undefined ? host.run : host.container(container).runInNetwork;
  await run(`until ss -Hln${isUdp ? 'u' : 't'} sport = :${port} | grep -q .; do sleep 0.05; done`);
}
