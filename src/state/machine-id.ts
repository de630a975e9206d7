import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';

/**
 * 32 hexadecimal digits derived from /etc/machine-id, which itself must not be told to others (machine-id(5)): a copy of this
 * machine that was given an id of its own has others.
 *
 * @throws Error when the machine has none
 */
export function machineIdDigest(): string {
  const id = readFileSync('/etc/machine-id', 'utf8').trim();
  if (!/^[0-9a-f]{32}$/.test(id))
    throw new Error('/etc/machine-id holds no id: systemd-machine-id-setup makes one');
  return createHmac('sha256', Buffer.from(id, 'hex')).update('wormhole identity').digest('hex').slice(0, 32);
}
