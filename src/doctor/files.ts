import { existsSync } from 'node:fs';
import { LINKS_DIR, readDeclarations } from '../links/declared/files.js';
import type { Check } from './facts.js';
import type { Finding } from './finding.js';

const SERVICE = 'wormhole-apply.service';

/** Faults in the files of links, and what the last `wormhole apply` by systemd could not do. */
export const filesCheck: Check = {
  name: 'files',
  async find({ units }) {
    const findings: Omit<Finding, 'check'>[] = existsSync(LINKS_DIR) ? faultyFiles() : [];
    if (units.get(SERVICE)?.active === 'failed' && findings.length === 0)
      findings.push({
        subject: SERVICE,
        problem: `the last wormhole apply of ${LINKS_DIR} could not do all that the files say`,
        advice: `wormhole apply says what, and tries again; then systemctl restart ${SERVICE}`,
      });
    return findings;
  },
};

function faultyFiles(): Omit<Finding, 'check'>[] {
  try {
    return readDeclarations(LINKS_DIR).faults.map(({ path, line, message }) => ({
      subject: `${path}:${line}`,
      problem: message.replace(/\s*\n\s*/g, ' / '),
      advice: 'correct the file, then wormhole apply --dry-run',
    }));
  } catch (error) {
    const problem = (error as Error).message;
    return [{ subject: LINKS_DIR, problem, advice: 'no file of it is used until that is corrected' }];
  }
}
