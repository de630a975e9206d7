import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { promisify } from 'node:util';
import { IpError } from '../ipsec/apply.js';
import { requireIpsec } from '../ipsec/capability.js';
import { farChildOf } from '../recipe/link.js';
import type { Check } from './facts.js';
import { type Finding, splitAdvice } from './finding.js';

const run = promisify(execFile);

/** The kernel modules of tunnels: ESP for both families, the interface, and the cipher. */
const MODULES = ['esp4', 'esp6', 'xfrm_interface', 'gcm', 'seqiv'];

/** Whether the kernel can carry tunnels, if there are tunnels or links that create them. */
export const tunnelKernelCheck: Check = {
  name: 'kernel',
  async find({ links, tunnels }) {
    const needed =
      tunnels.tunnels.length > 0 ||
      links.some(({ link }) => (farChildOf(link)?.kind ?? 'remote') !== 'remote');
    if (!needed) return [];
    try {
      await requireIpsec();
      return [];
    } catch (error) {
      if (!(error instanceof IpError)) throw error;
      return [
        kernelFinding(error.message, {
          release: release(),
          hasModules: existsSync(`/lib/modules/${release()}`),
        }),
      ];
    }
  },
};

/** What to say of a kernel that cannot carry tunnels. `hasModules` says whether the modules of the running kernel are installed. */
export function kernelFinding(
  message: string,
  kernel: { release: string; hasModules: boolean },
): Omit<Finding, 'check'> {
  const { problem, advice } = splitAdvice(message, 'boot another kernel');
  const subject = `the kernel ${kernel.release}`;
  if (!kernel.hasModules)
    return {
      subject,
      problem: `${problem}, and /lib/modules/${kernel.release} is missing`,
      advice: `reboot, if another kernel has been installed since the boot; otherwise ${advice}`,
    };
  return { subject, problem, advice, repair: loadModules };
}

/** Loads what can be loaded, and asks the kernel again: a module may be built in, or have another name. */
async function loadModules(): Promise<string> {
  await run('modprobe', ['--all', ...MODULES]).catch(() => {});
  await requireIpsec();
  return `loaded kernel modules: ${MODULES.join(' ')}`;
}
