import { IpError } from '../ipsec/apply.js';
import { type KernelInterface, pathMtu, readKernel } from '../ipsec/kernel.js';
import { tunnelMtu } from '../ipsec/mtu.js';
import { tunnelNumber } from '../ipsec/names.js';
import { statusOf } from '../tunnels/kernel.js';
import { interruptedInitiations } from '../tunnels/negotiation.js';
import { problemOf } from '../tunnels/problems.js';
import { repairTunnels } from '../tunnels/repair.js';
import { rekeyUnits, type Tunnel, tunnelUnit } from '../units/tunnel.js';
import type { Check, Facts } from './facts.js';
import type { Finding } from './finding.js';

/** Whether tunnels are up, whole, and as large as their path allows. */
export const tunnelsCheck: Check = {
  name: 'tunnels',
  async find(facts) {
    const findings: Omit<Finding, 'check'>[] = interruptedInitiations().map(halfBuilt);
    const { tunnels } = facts.tunnels;
    if (tunnels.length === 0) return findings;
    const interfaces = await readInterfaces();
    if (!interfaces) return findings;
    for (const tunnel of tunnels) {
      // One whose interface is not as it should be does not count as up either.
      const wrong = (await wrongMtu(tunnel, interfaces, facts)) ?? (await downTunnel(tunnel, facts));
      if (wrong) findings.push(wrong);
    }
    return findings;
  },
};

/** The interfaces of tunnels; undefined when the kernel has no IPsec, which the check of the kernel tells. */
async function readInterfaces(): Promise<KernelInterface[] | undefined> {
  try {
    return (await readKernel()).interfaces;
  } catch (error) {
    if (error instanceof IpError) return undefined;
    throw error;
  }
}

function halfBuilt(machine: string): Omit<Finding, 'check'> {
  return {
    subject: `the tunnel to machine ${machine}`,
    problem: 'it is half built, by a command that was killed',
    advice: 'wormhole tunnel-list checks it together with the other machine',
    async repair() {
      await repairTunnels();
      return `the tunnel to machine ${machine}: removed what was left of it, or had it checked`;
    },
  };
}

async function downTunnel(
  tunnel: Tunnel,
  { systemd, units }: Facts,
): Promise<Omit<Finding, 'check'> | undefined> {
  const unit = tunnelUnit(tunnel.peer);
  const problem = problemOf(tunnel);
  const { up } = await statusOf(tunnel);
  if (up && problem === undefined) return undefined;
  const state = up ? 'it is up, and the last check has failed' : 'it is down';
  const finding = {
    subject: `the tunnel to ${tunnel.peer}`,
    problem:
      problem === undefined
        ? `${state}; ${unit} is ${units.get(unit)?.active ?? 'inactive'}`
        : `${state}: ${problem}`,
    advice: `wormhole tunnel-create ${tunnel.mode === 'udp' ? '--udp ' : ''}${tunnel.peer} brings it up; journalctl -u ${unit} says why it is not`,
  };
  if (up) return finding;
  return {
    ...finding,
    async repair() {
      await systemd.resetFailed(unit);
      await systemd.start(unit);
      if (!(await statusOf(tunnel)).up) throw new Error(`${unit} has started, and the tunnel is not up yet`);
      return `the tunnel to ${tunnel.peer}: it is up`;
    },
  };
}

async function wrongMtu(
  tunnel: Tunnel,
  interfaces: KernelInterface[],
  { systemd }: Facts,
): Promise<Omit<Finding, 'check'> | undefined> {
  const number = tunnelNumber(tunnel.id);
  const found = interfaces.find((one) => one.number === number);
  if (!found) return undefined;
  try {
    const finding = mtuFinding(tunnel, { actual: found.mtu, path: await pathMtu(tunnel.outer.remote) });
    return (
      finding && {
        ...finding,
        async repair() {
          await systemd.start(rekeyUnits(tunnel.peer).service);
          return `the tunnel to ${tunnel.peer}: set its MTU`;
        },
      }
    );
  } catch (error) {
    // Without a route, it is down.
    if (error instanceof IpError) return undefined;
    throw error;
  }
}

/** What is wrong with the MTU of a tunnel's interface: `actual`, where the device that leads to the peer carries `path` bytes. */
export function mtuFinding(
  { peer, outer, mode }: Pick<Tunnel, 'peer' | 'outer' | 'mode'>,
  { actual, path }: { actual: number; path: number },
): Omit<Finding, 'check'> | undefined {
  const right = tunnelMtu(path, outer.remote, mode === 'udp');
  if (actual === right) return undefined;
  const consequence =
    actual > right ? 'larger packets are lost on the way' : 'packets are smaller than they could be';
  return {
    subject: `the tunnel to ${peer}`,
    problem: `its MTU is ${actual}, and ${right} fits its path: ${consequence}`,
    advice: `systemctl start ${rekeyUnits(peer).service} sets it`,
  };
}
