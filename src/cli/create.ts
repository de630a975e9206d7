import { type Command, Option } from 'commander';
import type { Machine } from '../api/connect.js';
import type { CreatedLink } from '../api/schema.js';
import { formatDuration } from '../recipe/duration.js';
import { printable } from '../text/printable.js';
import {
  readCount,
  readGroup,
  readIdleTimeout,
  readKeepAlive,
  readMode,
  readOwner,
  readSpan,
  readWorkers,
} from '../units/create-options.js';
import {
  BALANCES,
  type Balance,
  type ClientLimits,
  type CreateOptions,
  DEFAULT_OPTIONS,
} from '../units/plan.js';
import type { UnitFile } from '../units/render.js';
import { requireRoot, UsageError } from './fail.js';
import { machineOf, type ProgramOptions } from './machine.js';
import { optionValue } from './option-value.js';
import { printCreated } from './output.js';
import { addProxyOptions, type ProxyFlags, readProxyFlags } from './proxy-options.js';

export function addCreate(program: Command): void {
  const command = program
    .command('create')
    .description('create a link, and print its id and the url of its head')
    .usage('[options] RECIPE...')
    .option('--dry-run', 'print each file that would be written, and change nothing')
    .option('--replace', 'change the link of the same id in place, if there is one')
    .option('--idle <span>', 'same as idle SPAN at the beginning of the recipe')
    .option(
      '--start-timeout <span>',
      'time limit for the target to start and accept the connection (default: 60s)',
    )
    .option('--udp-timeout <span>', 'end a UDP session after this time without a datagram (default: 60s)')
    .option('--max-connections <n>', 'the most clients at a time; others wait for 5 s (default: 4000)')
    .option('--max-per-source <n>', 'the most clients at a time of one address')
    .option('--rate <n>', 'the most new clients in a second; others wait for 5 s')
    .option(
      '--idle-timeout <span>',
      'reset a session on which no byte has moved for this time (default: never)',
    )
    .option('--keepalive <span>', 'probe a silent peer after this time (TCP keepalive; default: never)')
    .option('--mode <mode>', 'permissions of a unix socket head, octal (default: 0666)')
    .option('--owner <user:group>', 'owner of a unix socket head (default: root)')
    .option('--group <group>', 'a group of the forwarder, for a tail with a path that others may not use')
    .addOption(
      new Option('--pull <when>', 'when to pull the images of docker-run (default: missing)').choices([
        'never',
        'missing',
        'always',
      ]),
    )
    .addOption(
      new Option('--if-absent', 'do nothing if an identical link exists').conflicts(['replace', 'dryRun']),
    )
    .addOption(
      new Option('--balance <how>', 'which of several tails a client gets (default: least)').choices(
        BALANCES,
      ),
    )
    .option('--check <span>', 'interval between connection checks of several tails (default: never)')
    .option('--workers <n>', 'number of relay threads, or auto for one per processor (default: none extra)')
    .argument('<recipe...>', 'the words of the recipe')
    .passThroughOptions()
    .action(create);
  addProxyOptions(command);
}

interface Flags extends ProxyFlags {
  dryRun?: boolean;
  replace?: boolean;
  ifAbsent?: boolean;
  idle?: string;
  startTimeout?: string;
  udpTimeout?: string;
  maxConnections?: string;
  maxPerSource?: string;
  rate?: string;
  idleTimeout?: string;
  keepalive?: string;
  mode?: string;
  owner?: string;
  group?: string;
  pull?: CreateOptions['pull'];
  balance?: Balance;
  check?: string;
  workers?: string;
}

async function create(words: string[], flags: Flags, command: Command): Promise<void> {
  const { ifAbsent = false, balance, check, workers } = flags;
  const { dryRun, replace = false, idle, startTimeout, udpTimeout, mode, owner, group, pull } = flags;
  const { parseRecipe } = await import('../recipe/parse.js');
  const recipe = parseRecipe(words);
  if (idle !== undefined && recipe.idle !== undefined) {
    throw new UsageError(`--idle "${idle}": the recipe says idle ${formatDuration(recipe.idle)} already`);
  }
  if (idle !== undefined) recipe.idle = optionValue('--idle', idle, readSpan);
  const options: CreateOptions = { ...DEFAULT_OPTIONS, ...readProxyFlags(flags), ...readClientLimits(flags) };
  if (startTimeout !== undefined)
    options.startTimeout = optionValue('--start-timeout', startTimeout, readSpan);
  if (udpTimeout !== undefined) options.udpTimeout = optionValue('--udp-timeout', udpTimeout, readSpan);
  if (mode !== undefined) options.socketMode = optionValue('--mode', mode, readMode);
  if (owner !== undefined) options.socketOwner = optionValue('--owner', owner, readOwner);
  if (group !== undefined) options.group = optionValue('--group', group, readGroup);
  if (pull !== undefined) options.pull = pull;
  if (balance !== undefined) options.balance = balance;
  if (check !== undefined) options.check = optionValue('--check', check, readSpan);
  if (workers !== undefined) options.workers = optionValue('--workers', workers, readWorkers);

  const machine = await machineOf(command);
  if (machine) {
    const sent = idle === undefined ? words : ['idle', idle, ...words];
    const asked = { ...options, ...(replace && { replace }), ...(ifAbsent && { ifAbsent }) };
    return dryRun ? previewThere(machine, sent, asked) : createThere(machine, sent, asked);
  }
  const { key: keyFile } = command.optsWithGlobals<ProgramOptions>();
  const { createLink, previewLink } = await import('../links/create.js');
  if (dryRun) return printFiles(await previewLink({ recipe, options, keyFile, replace }));
  requireRoot('create …');
  const { showProgress } = await import('./progress.js');
  const request = { recipe, options, keyFile, replace, ifAbsent };
  printLink((await createLink(request, showProgress())).link);
}

type AskedOptions = CreateOptions & { replace?: boolean; ifAbsent?: boolean };

async function createThere(machine: Machine, words: string[], options: AskedOptions): Promise<void> {
  const { createAt } = await import('../api/client.js');
  printLink(await createAt(machine, words, options));
}

function printLink({ id, url, also = [], left = [] }: CreatedLink): void {
  printCreated(`link ${id}`, [id, url, ...also].join(' '));
  for (const line of left) process.stderr.write(`wormhole: ${printable(line)}\n`);
}

async function previewThere(machine: Machine, words: string[], options: AskedOptions): Promise<void> {
  const { previewAt } = await import('../api/client.js');
  await printFiles((await previewAt(machine, words, options)).files);
}

async function printFiles(files: UnitFile[]): Promise<void> {
  const { UNIT_DIR } = await import('../systemd/unit-files.js');
  process.stdout.write(files.map(({ name, text }) => `### ${UNIT_DIR}/${name}\n${text}`).join('\n'));
}

function readClientLimits({
  maxConnections,
  maxPerSource,
  rate,
  idleTimeout,
  keepalive,
}: Flags): ClientLimits {
  return {
    ...(maxConnections !== undefined && {
      maxConnections: optionValue('--max-connections', maxConnections, readCount),
    }),
    ...(maxPerSource !== undefined && {
      maxPerSource: optionValue('--max-per-source', maxPerSource, readCount),
    }),
    ...(rate !== undefined && { rate: optionValue('--rate', rate, readCount) }),
    ...(idleTimeout !== undefined && {
      idleTimeout: optionValue('--idle-timeout', idleTimeout, readIdleTimeout),
    }),
    ...(keepalive !== undefined && { keepAlive: optionValue('--keepalive', keepalive, readKeepAlive) }),
  };
}
