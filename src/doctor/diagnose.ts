import { type Systemd, withSystemd } from '../systemd/systemd.js';
import { checks } from './checks.js';
import { type Check, type Facts, readFacts } from './facts.js';
import type { Finding, Repair } from './finding.js';

/** What a repair has done, or why it has failed, with the findings that it is about. */
export interface Repaired {
  findings: Finding[];
  done?: string;
  failure?: string;
}

/** What is wrong with this machine, and what was repaired. */
export interface Diagnosis {
  /** What is wrong; after repairs, what is still wrong. */
  findings: Finding[];
  repaired: Repaired[];
}

/**
 * Looks for what is wrong with this machine, and with `fix` repairs what is safe to repair and looks again.
 *
 * @throws Error when systemd is unreachable
 */
export function diagnose({ fix }: { fix: boolean }): Promise<Diagnosis> {
  return withSystemd(async (systemd) => {
    const findings = await findAll(systemd);
    const repaired = fix ? await repairAll(findings) : [];
    return { findings: repaired.length > 0 ? await findAll(systemd) : findings, repaired };
  });
}

/** All checks look at the same time, since some of them wait for other machines. Their findings come in the order of the list. */
async function findAll(systemd: Systemd): Promise<Finding[]> {
  const facts = await readFacts(systemd);
  return (await Promise.all(checks.map((check) => run(check, facts)))).flat();
}

/** A check that cannot look has not found that all is well. */
async function run({ name, find }: Check, facts: Facts): Promise<Finding[]> {
  try {
    return (await find(facts)).map((finding) => ({ check: name, ...finding }));
  } catch (error) {
    const problem = `it could not be completed: ${(error as Error).message}`;
    return [
      {
        check: name,
        subject: `check "${name}"`,
        problem,
        advice: 'correct that, and run wormhole doctor again',
      },
    ];
  }
}

/** Carries out each repair once, in the order of the checks; one that fails does not keep the others from being tried. */
async function repairAll(findings: Finding[]): Promise<Repaired[]> {
  const repairs = new Map<Repair, Finding[]>();
  for (const finding of findings)
    if (finding.repair) repairs.set(finding.repair, [...(repairs.get(finding.repair) ?? []), finding]);
  const repaired: Repaired[] = [];
  for (const [repair, concerned] of repairs) {
    try {
      repaired.push({ findings: concerned, done: await repair() });
    } catch (error) {
      repaired.push({ findings: concerned, failure: (error as Error).message });
    }
  }
  return repaired;
}
