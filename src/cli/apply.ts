import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { ApplyReport, LinkDifference } from '../links/declared/apply.js';
import type { TunnelReport } from '../links/declared/apply-tunnels.js';
import type { Declarations } from '../links/declared/files.js';
import type { About } from '../systemd/journal-entry.js';
import { printable } from '../text/printable.js';
import type { FileFault } from '../units/declaration.js';
import { exitStatus, requireRoot, UsageError } from './fail.js';
import { type ProgramOptions, requireHere } from './machine.js';
import { logFailure, printLine, serviceLog } from './output.js';

const HELP = `
A file NAME.wormhole describes one link or tunnel: man wormhole.links. Without -f, the files of /etc/wormhole/links.d are read.
Prints nothing if every link already matches its file. Exit status 1 if a file could not be applied; the others are applied.`;

export function addApply(program: Command): void {
  program
    .command('apply')
    .description('create and change links as files describe them')
    .option('-f, --file <path>', 'a file, a directory of files, or - for what export prints')
    .option('--dry-run', 'print what would change, and change nothing')
    .option('--prune', 'delete the links that were made from files of the directory which are gone')
    .option('-q, --quiet', 'print no differences, only what was done')
    .addHelpText('after', HELP)
    .action(apply);
}

interface Flags {
  file?: string;
  dryRun?: boolean;
  prune?: boolean;
  quiet?: boolean;
}

async function apply(
  { file, dryRun = false, prune = false, quiet = false }: Flags,
  command: Command,
): Promise<void> {
  await requireHere(command, 'apply', 'leave out -H, and give the files to wormhole apply -f - there');
  requireRoot('apply …');
  const { applyLinks } = await import('../links/declared/apply.js');
  const { applyTunnels, pruneTunnels } = await import('../links/declared/apply-tunnels.js');
  const { pruneLinks } = await import('../links/declared/prune.js');
  const { declarations, faults, directory } = await read(file);
  if (prune && directory === undefined)
    throw new UsageError('--prune needs a directory: the links are deleted whose files are gone from it');
  const report = reporter({ dryRun, quiet }, await import('diff'));
  for (const fault of faults) report.failed(fault);
  const common = {
    keyFile: command.optsWithGlobals<ProgramOptions>().key,
    dryRun,
    files: declarations.flatMap((one) => one.file ?? []),
  };
  const links = declarations.filter((one) => one.kind === 'link');
  const tunnels = declarations.filter((one) => one.kind === 'tunnel');
  const pruned =
    prune && directory !== undefined ? { ...common, directory, faulty: faults[0]?.path } : undefined;
  // Links keep a tunnel from being changed or deleted, and may be about the addresses inside one.
  const gone = pruned === undefined ? [] : await pruneLinks({ ...pruned, links }, report);
  if (tunnels.length > 0) await applyTunnels({ ...common, tunnels }, report);
  await applyLinks({ ...common, links, pruned: gone }, report);
  if (pruned !== undefined) await pruneTunnels({ ...pruned, tunnels }, report);
}

async function read(file: string | undefined): Promise<Declarations> {
  if (file === '') throw new UsageError('-f "": name a file or a directory, or - for standard input');
  const { LINKS_DIR, readDeclarations, readDeclarationStream } = await import('../links/declared/files.js');
  if (file === '-') {
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
    return readDeclarationStream(Buffer.concat(chunks).toString());
  }
  const path = file ?? LINKS_DIR;
  try {
    return readDeclarations(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new Error(`there is no ${resolve(path)}`);
  }
}

function reporter(
  { dryRun, quiet }: { dryRun: boolean; quiet: boolean },
  { createTwoFilesPatch, FILE_HEADERS_ONLY }: typeof import('diff'),
): ApplyReport & TunnelReport {
  // wormhole-apply.service is quiet.
  const log = quiet ? serviceLog('wormhole-apply').info : undefined;
  const say = (line: string, about: Omit<About, 'event'> = {}) =>
    log ? log(line, { event: 'changed', ...about }) : printLine(line);
  const differs = (what: string, { file, former, next }: Omit<LinkDifference, 'id'>) => {
    if (!quiet) {
      const [from, to] = [former === '' ? '/dev/null' : what, next === '' ? '/dev/null' : (file ?? what)];
      process.stdout.write(
        printable(
          createTwoFilesPatch(from, to, former, next, '', '', {
            context: 3,
            headerOptions: FILE_HEADERS_ONLY,
          }),
          '\n',
        ),
      );
    }
    if (dryRun) say(`would ${former === '' ? 'create' : next === '' ? 'delete' : 'change'} ${what}`);
  };
  return {
    differs: (difference) => differs(`link ${difference.id}`, difference),
    tunnelDiffers: (difference) => differs(`the tunnel to ${difference.peer}`, difference),
    created: ({ id, url, also = [] }) => say(`created link ${[id, url, ...also].join(' ')}`, { link: id }),
    changed: ({ id, url, also = [] }) => say(`changed link ${[id, url, ...also].join(' ')}`, { link: id }),
    deleted: (id, file) => say(`deleted link ${id}: ${file} is gone`, { link: id }),
    tunnelCreated: ({ peer, inner }) =>
      say(`created the tunnel to ${peer} ${inner.local} ${inner.remote}`, { peer }),
    tunnelChanged: ({ peer }) => say(`changed the tunnel to ${peer}`, { peer }),
    tunnelDeleted: (peer, file) => say(`deleted the tunnel to ${peer}: ${file} is gone`, { peer }),
    note: complain,
    failed: reportFault,
  };
}

function complain(text: string): void {
  const line = `wormhole: ${text}`;
  if (!logFailure(line)) process.stderr.write(`${printable(line)}\n`);
}

/** One line, as compilers write it. */
function reportFault({ path, line, message }: FileFault): void {
  const text = message.replace(/\s*\n\s*/g, ' / ');
  complain(`${path}:${line}: ${text}`);
  process.exitCode = exitStatus.failure;
}
