import type { Systemd } from '../systemd/systemd.js';
import { serviceUnit, startFailureUnit } from '../units/names.js';

/**
 * Forgets that the forwarder of a link has failed to start, after what may have repaired that or has ended the link, so that neither
 * systemctl --failed nor doctor goes on naming it. What fails again is known again.
 */
export async function forgetFailedForwarder(id: string, systemd: Systemd): Promise<void> {
  for (const unit of [serviceUnit(id), startFailureUnit(id)]) await systemd.resetFailed(unit);
}
