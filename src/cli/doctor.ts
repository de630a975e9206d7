import type { Command } from 'commander';
import type { Diagnosis } from '../doctor/diagnose.js';
import type { Finding } from '../doctor/finding.js';
import { printable } from '../text/printable.js';
import { printableJson } from '../text/quote.js';
import { exitStatus, requireRoot, UsageError } from './fail.js';
import { machineOf } from './machine.js';

const HELP = `
One line for each finding: what it is about, what is wrong, and what to do. Exit status 0 if nothing is wrong, 1 otherwise.
--fix repairs what is safe, says what it did, and looks again: modes of keys, kernel modules, units that nobody has edited,
links that should listen and do not, what killed commands have left, containers of links that do not exist, pending deletions.`;

interface Flags {
  fix?: boolean;
  json?: boolean;
}

/** Adds `wormhole doctor`. */
export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('find what is wrong on this machine, and say what to do')
    .option('--fix', 'repair what is safe to repair')
    .option('--json', 'print it as JSON')
    .addHelpText('after', HELP)
    .action(async ({ fix = false, json = false }: Flags, command: Command) => {
      if (await machineOf(command))
        throw new UsageError('doctor looks at this machine alone: leave out -H, and run it there');
      requireRoot(`doctor${fix ? ' --fix' : ''}`);
      const { diagnose } = await import('../doctor/diagnose.js');
      const diagnosis = await diagnose({ fix });
      process.stdout.write(json ? asJson(diagnosis) : asText(diagnosis));
      if (diagnosis.findings.length > 0) process.exitCode = exitStatus.failure;
    });
}

function asText({ findings, repaired }: Diagnosis): string {
  const done = repaired.map(({ done, failure, findings: [first] }) =>
    done === undefined ? `not repaired: ${first?.subject}: ${failure}` : `repaired: ${done}`,
  );
  const left = findings.map(({ subject, problem, advice }) => `${subject}: ${problem}: ${advice}`);
  const end = findings.length === 0 ? ['nothing wrong'] : [];
  return [...done, ...left, ...end]
    .map((line) => `${printable(line.replace(/\s*\n\s*/g, ' / '))}\n`)
    .join('');
}

function asJson({ findings, repaired }: Diagnosis): string {
  return `${printableJson({
    findings: findings.map(describe),
    repaired: repaired.map(({ findings: concerned, done, failure }) => ({
      findings: concerned.map(describe),
      ...(done === undefined ? { failure: failure ?? '' } : { done }),
    })),
  })}\n`;
}

function describe({ check, subject, problem, advice, repair }: Finding) {
  return { check, subject, problem, advice, fixable: repair !== undefined };
}
