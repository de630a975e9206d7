import { farChildOf } from '../recipe/link.js';
import { readUnitFile } from '../systemd/unit-files.js';
import { type Check, type Facts, needsEngine } from './facts.js';
import type { Finding } from './finding.js';

/** A unit that install.sh enables, and what does not work without it. */
interface OwnUnit {
  unit: string;
  purpose: string;
  /** Whether only a boot starts it, so that it is inactive where what it is for has come later. */
  isForBoot?: boolean;
  isNeeded(facts: Facts): boolean;
}

const OWN_UNITS: OwnUnit[] = [
  {
    unit: 'wormhole-sync.path',
    purpose: 'links do not follow containers and namespaces that come, go or change',
    isNeeded: ({ links }) =>
      links.some(
        (link) =>
          needsEngine(link) || [link.link.head, link.link.tail].some((end) => end?.place.kind === 'netns'),
      ),
  },
  {
    unit: 'wormhole-far.socket',
    purpose: 'links to other machines do not find them again',
    isNeeded: ({ links }) => links.some(({ link }) => farChildOf(link)),
  },
  {
    unit: 'wormhole-tunnel-guard.service',
    purpose: 'packets may leave a tunnel in clear text after a boot',
    isForBoot: true,
    isNeeded: ({ tunnels }) => tunnels.tunnels.length > 0,
  },
  {
    unit: 'wormhole-counters.service',
    purpose: 'the figures of links do not outlive a boot',
    isNeeded: ({ links }) => links.length > 0,
  },
];

/** Whether the units of Wormhole are installed and started that serve all links. */
export const servicesCheck: Check = {
  name: 'services',
  async find(facts) {
    const needed = OWN_UNITS.filter(({ isNeeded }) => isNeeded(facts));
    const found = await Promise.all(needed.map((one) => ownUnit(one, facts)));
    return [...found.flat(), ...(await daemon(facts))];
  },
};

async function ownUnit(
  { unit, purpose, isForBoot = false }: OwnUnit,
  { systemd, units }: Facts,
): Promise<Omit<Finding, 'check'>[]> {
  if (readUnitFile(unit) === undefined)
    return [{ subject: unit, problem: `it is missing: ${purpose}`, advice: 'run install.sh again' }];
  if (!(await systemd.isEnabled(unit)))
    return [
      { subject: unit, problem: `it is not enabled: ${purpose}`, advice: `systemctl enable --now ${unit}` },
    ];
  const active = units.get(unit)?.active ?? 'inactive';
  if (active !== 'failed' && (isForBoot || active !== 'inactive')) return [];
  return [
    {
      subject: unit,
      problem: `it is ${active}: ${purpose}`,
      advice: `systemctl start ${unit}; journalctl -u ${unit} says why it has ended`,
      async repair() {
        await systemd.resetFailed(unit);
        await systemd.start(unit);
        return `started ${unit}`;
      },
    },
  ];
}

/** The socket by which other machines reach this one, if it is enabled. Without a key it waits for one. */
async function daemon({ systemd, units }: Facts): Promise<Omit<Finding, 'check'>[]> {
  const unit = 'wormholed-tcp.socket';
  if (readUnitFile(unit) === undefined || !(await systemd.isEnabled(unit))) return [];
  const active = units.get(unit)?.active ?? 'inactive';
  if (active !== 'failed') return [];
  return [
    {
      subject: unit,
      problem: 'it has failed: other machines do not reach this one',
      advice: `journalctl -u ${unit} says why; then systemctl restart ${unit}`,
    },
  ];
}
