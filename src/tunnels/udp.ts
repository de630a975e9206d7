import { readFileSync } from 'node:fs';
import type { Ports } from '../ipsec/plan.js';
import { RUN_DIR } from '../state/lock.js';
import { withSystemd } from '../systemd/systemd.js';

/** Where the service that holds the UDP sockets records their port. */
export const PORT_FILE = `${RUN_DIR}/tunnels/udp-port`;

const UNIT = 'wormhole-tunnel-udp.service';

/** The UDP port at which this machine receives, if the tunnel is in UDP. */
export interface UdpPort {
  udpPort?: number;
}

/** Makes sure that the service runs which receives ESP in UDP, and returns its port. @throws JobError */
export async function openUdp(): Promise<{ udpPort: number }> {
  await withSystemd((systemd) => systemd.start(UNIT));
  return { udpPort: Number(readFileSync(PORT_FILE, 'utf8')) };
}

/** Makes the service send hellos to the other machines at once. @throws JobError */
export async function sendHellos(): Promise<void> {
  await withSystemd((systemd) => systemd.reload(UNIT));
}

/** Both ports, if the tunnel is in UDP. */
export function portsBetween(local: number | undefined, remote: number | undefined): Ports | undefined {
  return local === undefined || remote === undefined ? undefined : { local, remote };
}
