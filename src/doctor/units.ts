import { type DifferingUnit, differingUnits, upgradeUnits } from '../links/upgrade.js';
import type { Systemd } from '../systemd/systemd.js';
import { readUnitFile } from '../systemd/unit-files.js';
import { isTunnelUnit } from '../units/tunnel.js';
import type { Check, Facts } from './facts.js';
import type { Finding, Repair } from './finding.js';

/** Whether the units of links and tunnels are there, are as this version writes them, and are what systemd has read. */
export const unitsCheck: Check = {
  name: 'units',
  async find(facts) {
    const { links, unreadable, tunnels } = facts;
    const differing = await differingUnits(links, tunnels.tunnels);
    const unread = await unreadUnits(facts, new Set(differing.map(({ unit }) => unit)));
    return [
      ...unreadable.map(({ id, reason }) => unreadableUnit(`link ${id}`, reason, `wormhole delete ${id}`)),
      ...tunnels.unreadable.map(({ unit, reason }) =>
        unreadableUnit(unit, reason, `correct it: systemctl cat ${unit}`),
      ),
      ...differing.map((one) => differingUnit(one, rewrite)),
      ...unread,
    ];
  },
};

/** What is wrong with a unit that is not as this version renders it. @param repair writes those that nobody has edited */
export function differingUnit(
  { unit, current, plan }: Pick<DifferingUnit, 'unit' | 'current' | 'plan'>,
  repair: Repair,
): Omit<Finding, 'check'> {
  if (plan === 'leave')
    return {
      subject: unit,
      problem: 'somebody has edited it, so that upgrades leave it as it is',
      advice: `move the change to systemctl edit ${unit}; wormhole upgrade shows it, and upgrade --force takes it back`,
    };
  if (plan === 'replace')
    return {
      subject: unit,
      problem: 'another version has written it, and nobody can tell whether it was edited since',
      advice: 'wormhole upgrade writes it again, and keeps a copy',
    };
  const problem = current === undefined ? 'its file is missing' : 'it is not as this version writes it';
  return { subject: unit, problem, advice: 'wormhole upgrade writes it again', repair };
}

function unreadableUnit(subject: string, reason: string, advice: string): Omit<Finding, 'check'> {
  return { subject, problem: reason, advice: `${advice}, or restore the unit from a backup` };
}

const rewrite: Repair = async () => {
  const { written } = await upgradeUnits({ untouchedOnly: true });
  return `wrote again: ${written.join(' ') || 'nothing, it was done meanwhile'}`;
};

/** The units that systemd cannot load, or has not read since they changed; those in `known` have a finding already. */
async function unreadUnits(
  { units, systemd, isBusy }: Facts,
  known: ReadonlySet<string>,
): Promise<Omit<Finding, 'check'>[]> {
  const findings: Omit<Finding, 'check'>[] = [];
  const repair: Repair = async () => {
    await systemd.reloadAll();
    return 'made systemd read all units again';
  };
  const canTell = !isBusy && !(await saysSoOfAll(systemd));
  for (const [unit, { load }] of units) {
    if (known.has(unit) || (readUnitFile(unit) === undefined && !isTunnelUnit(unit))) continue;
    if (load !== 'loaded' && load !== 'not-found')
      findings.push({
        subject: unit,
        problem: `systemd cannot load it (${load})`,
        advice: load === 'masked' ? `systemctl unmask ${unit}` : `systemctl status ${unit} says why`,
      });
    else if (canTell && (await systemd.state(unit)).needReload)
      findings.push({
        subject: unit,
        problem: 'it, or a drop-in of it, has changed since systemd read it',
        advice: 'systemctl daemon-reload',
        repair,
      });
  }
  return findings;
}

/**
 * Whether systemd says of every unit that it needs a daemon-reload, which is so since version 255 when any program has enabled one
 * and has not had systemd reload. A unit without a file tells.
 */
async function saysSoOfAll(systemd: Systemd): Promise<boolean> {
  return (await systemd.state('init.scope')).needReload;
}
