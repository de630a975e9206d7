import { isRefused } from '../state/peers.js';
import { Failure } from './failure.js';

/** Makes sure that a machine is not refused here, by its id. @throws Failure when it is */
export function requireAllowed(machine: string): void {
  if (isRefused(machine))
    throw new Failure(
      'failed',
      `machine ${machine} is refused here: wormhole peers allow ${machine}, on this machine`,
      403,
    );
}
