import { idOfUnit, socketUnit } from '../units/names.js';
import type { Check } from './facts.js';

/** Units that have a check of their own. */
const CHECKED = [
  'wormhole-sync.path',
  'wormhole-far.socket',
  'wormhole-tunnel-guard.service',
  'wormhole-counters.service',
  'wormholed-tcp.socket',
];

/** Units of Wormhole that have failed, beside those that other checks tell more of. */
export const failedCheck: Check = {
  name: 'failed',
  async find({ units, links }) {
    const sockets = new Set(links.map(({ id }) => socketUnit(id)));
    const failed = [...units].filter(
      ([unit, { active }]) => active === 'failed' && !sockets.has(unit) && !CHECKED.includes(unit),
    );
    return failed.map(([unit]) => ({
      subject: unit,
      problem: 'it has failed',
      advice: `journalctl -u ${unit} says why${idOfUnit(unit) === undefined ? `; systemctl restart ${unit}` : '; the next connection starts it again'}`,
    }));
  },
};
