import type { Command } from 'commander';
import type { Diagnosis } from '../doctor/diagnose.js';
import type { Finding } from '../doctor/finding.js';
import { printable } from '../text/printable.js';
import { printableJson } from '../text/quote.js';
import { exitStatus, requireRoot, UsageError } from './fail.js';
import { requireHere } from './machine.js';

const HELP = `
One line for each finding: what it is about, what is wrong, and what to do. Exit status 0 if nothing is wrong, 1 otherwise.
--fix repairs what is safe, says what it did, and checks again: modes of keys, kernel modules, units that nobody has edited,
links that should listen and do not, what killed commands left, containers of links that do not exist, pending deletions.`;

const LINK_HELP = `
--link follows one link hop by hop and says where it breaks: it connects to the target as the forwarder would, and sends nothing. Sleeping
links stay asleep.`;

interface Flags {
  fix?: boolean;
  json?: boolean;
  link?: string;
}

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('find what is wrong on this machine, and say what to do')
    .option('--fix', 'repair what is safe to repair')
    .option('--json', 'print it as JSON')
    .option('--link <id>', 'follow one link hop by hop instead')
    .addHelpText('after', HELP + LINK_HELP)
    .action(async ({ fix = false, json = false, link }: Flags, command: Command) => {
      await requireHere(command, 'doctor');
      if (link !== undefined && fix)
        throw new UsageError('--link only looks: leave out --fix, or leave out --link');
      requireRoot(`doctor${fix ? ' --fix' : ''}`);
      if (link !== undefined) return printHops(link, json);
      const { diagnose } = await import('../doctor/diagnose.js');
      const diagnosis = await diagnose({ fix });
      process.stdout.write(json ? asJson(diagnosis) : asText(diagnosis));
      if (diagnosis.findings.length > 0) process.exitCode = exitStatus.failure;
    });
}

async function printHops(id: string, json: boolean): Promise<void> {
  const { followLink } = await import('../doctor/link/follow.js');
  const hops = await followLink(id);
  const broken = hops.find(({ state }) => state === 'broken');
  if (broken) process.exitCode = exitStatus.failure;
  if (json) {
    process.stdout.write(`${printableJson({ hops })}\n`);
    return;
  }
  const width = Math.max(...hops.map(({ link }) => link.length));
  const lines = hops.map(({ link, state, text, advice }) =>
    [state.padEnd(7), link.padEnd(width), advice === undefined ? text : `${text}: ${advice}`].join(' '),
  );
  const isAsleep = hops.some(({ state }) => state === 'asleep');
  const end = broken
    ? `link ${id} breaks at: ${broken.text}`
    : `link ${id}: no fault found${isAsleep ? ', but sleeping parts were not checked' : ''}`;
  process.stdout.write(
    [...lines, end].map((line) => `${printable(line.replace(/\s*\n\s*/g, ' / '))}\n`).join(''),
  );
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
