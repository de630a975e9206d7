import { readFileSync } from 'node:fs';
import type { Ports } from '../../ipsec/plan.js';
import { connectSystemd } from '../../systemd/systemd.js';
import { RUN_DIR } from '../lock.js';

/** Where the service that holds the UDP sockets writes down which port it has. */
export const PORT_FILE = `${RUN_DIR}/tunnels/udp-port`;

const UNIT = 'wormhole-tunnel-udp.service';

/** The UDP port at which this machine receives, if the tunnel is in UDP. */
export interface UdpPort {
  udpPort?: number;
}

/** Makes sure that the service runs which receives ESP in UDP, and tells its port. @throws JobError */
export async function openUdp(): Promise<{ udpPort: number }> {
  const systemd = await connectSystemd();
  try {
    await systemd.start(UNIT);
  } finally {
    systemd.close();
  }
  return { udpPort: Number(readFileSync(PORT_FILE, 'utf8')) };
}

/** Has the service tell the other machines at once where it is to be found. @throws JobError */
export async function sayHello(): Promise<void> {
  const systemd = await connectSystemd();
  try {
    await systemd.reload(UNIT);
  } finally {
    systemd.close();
  }
}

/** Both ports, if the tunnel is in UDP. */
export function portsBetween(me: number | undefined, peer: number | undefined): Ports | undefined {
  return me === undefined || peer === undefined ? undefined : { me, peer };
}
