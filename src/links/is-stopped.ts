import type { Systemd } from '../systemd/systemd.js';
import { socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';

/** Whether a link is stopped: it is open from boot on, unless its socket is not enabled. */
export async function isStopped({ root }: PlannedLink, systemd: Systemd): Promise<boolean> {
  return !(await systemd.isEnabled(socketUnit(root)));
}
