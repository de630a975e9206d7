#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { KEY_FILE } from '../api/key.js';
import { version } from '../state/installation.js';
import { addApply } from './apply.js';
import { addChanges } from './change.js';
import { addCompletion } from './completion.js';
import { addCounters } from './counters.js';
import { addCreate } from './create.js';
import { addDelete } from './delete.js';
import { addDoctor } from './doctor.js';
import { addDrain } from './drain.js';
import { addEdit } from './edit.js';
import { addExport } from './export.js';
import { exitStatus, fail, oneLine } from './fail.js';
import { addFar } from './far.js';
import { addGraph } from './graph.js';
import { addHealthFollow } from './health.js';
import { addHelp } from './help.js';
import { addLabels } from './labels.js';
import { addList } from './list.js';
import { addMetrics } from './metrics.js';
import { addNames } from './names.js';
import { addNetns } from './netns.js';
import { handleLostOutput } from './output.js';
import { addPeers } from './peers.js';
import { addPing } from './ping.js';
import { addPublish } from './publish.js';
import { addReport } from './report.js';
import { addRun } from './run.js';
import { addServices, addServicesRefresh, addServicesRegister } from './services.js';
import { addShow } from './show.js';
import { addSync } from './sync.js';
import { addTop } from './top.js';
import { addTunnels } from './tunnel.js';
import { addTunnelServices } from './tunnel-services.js';
import { addUpgrade } from './upgrade.js';
import { addWeb } from './web.js';

handleLostOutput();

const program = new Command('wormhole')
  .description('Connects ports across network namespaces, containers and machines.')
  .version(version(), '--version', 'print the version')
  .option(
    '-H, --host <address>',
    'act on that machine: HOST, HOST:PORT or unix:///PATH of a daemon',
    (address: string, before: string[] | undefined) => [...(before ?? []), address],
  )
  .option('-K, --key <file>', 'the key that machines share', KEY_FILE)
  .helpOption('-h, --help', 'print this help')
  .enablePositionalOptions()
  .configureHelp({ sortSubcommands: false })
  .configureOutput({ outputError: (text, write) => write(oneLine(text)) })
  .exitOverride();

// Each addX registers the command X.
for (const add of [
  addCreate,
  addEdit,
  addDelete,
  addChanges,
  addDrain,
  addList,
  addShow,
  addReport,
  addMetrics,
  addGraph,
  addPing,
  addPeers,
  addTunnels,
  addUpgrade,
  addApply,
  addExport,
  addLabels,
  addCompletion,
  addHelp,
  addDoctor,
  addWeb,
  addPublish,
  addServices,
  addTop,
])
  add(program);
for (const add of [
  addSync,
  addNetns,
  addRun,
  addFar,
  addTunnelServices,
  addCounters,
  addNames,
  addServicesRefresh,
  addServicesRegister,
  addHealthFollow,
])
  add(program);

program
  .parseAsync()
  .catch((error) => {
    if (!(error instanceof CommanderError)) fail(error);
    // commander has printed its own errors already; help and the version are none.
    else if (error.exitCode !== 0) process.exitCode = exitStatus.usage;
  })
  // A lookup in DNS that nobody waits for any more cannot be cancelled, and would hold the process for minutes.
  .finally(exitWhenPrinted);

/** Exits once a pipe has taken all output and errors of standard output are reported. */
function exitWhenPrinted(): void {
  const exit = () => setImmediate(() => process.exit());
  if (process.stdout.writableLength > 0) process.stdout.write('', exit);
  else exit();
}
