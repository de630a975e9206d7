#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { LOCAL, NoAddress } from '../control/api/address.js';
import { runDaemon } from '../control/api/daemon.js';
import { passedSockets } from '../control/api/doors.js';
import { checkOptions, DEFAULTS, type OptionWords, WrongOption } from '../control/api/options.js';
import { version } from '../control/installation.js';
import { exitStatus, fail, oneLine, requireRoot, UsageError } from './fail.js';
import { handleLostOutput } from './output.js';

const HELP = `
systemd starts it when somebody calls (wormholed.socket, wormholed-tcp.socket); options then go into
/etc/wormhole/wormholed.conf, and the addresses are those of the sockets. Started by hand, it stays in the foreground.
More: man wormholed`;

handleLostOutput('wormholed');

const program = new Command('wormholed')
  .description("Lets this machine's links be made and deleted from other machines.")
  .version(version(), '--version', 'print the version')
  .helpOption('-h, --help', 'print this help')
  .option(
    '-K, --key <file>',
    'the key that callers must have; a second line in it is accepted too',
    DEFAULTS.keyFile,
  )
  .option(
    '-H, --host <address>',
    `listen there, tcp://HOST:PORT or unix:///PATH; repeatable (default: unix://${LOCAL.path}, and with a key tcp://0.0.0.0:9999)`,
    (address: string, others: string[] = []) => [...others, address],
  )
  .option('-I, --internal <address>', "this machine's own address for tunnels")
  .option('-E, --external <address>', 'the address that other machines reach this one by, for tunnels')
  .option('-C, --overlay <cidr>', 'where tunnels take their addresses from', DEFAULTS.overlay)
  .option('-P, --ports <range>', 'UDP ports for tunnels in UDP', DEFAULTS.udpPorts)
  .option('--idle <seconds>', 'started by systemd, end after so long without a caller', DEFAULTS.idle)
  .addHelpText('after', HELP)
  .allowExcessArguments(false)
  .configureOutput({ outputError: (text, write) => write(oneLine(text, 'wormholed')) })
  .exitOverride()
  .action(run);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : exitStatus.usage;
  else fail(error, 'wormholed');
  // The daemon may have opened some of its sockets before it failed at another.
  process.exit();
}

async function run(words: OptionWords): Promise<void> {
  const options = check(words);
  const passed = passedSockets(process.env, process.pid);
  if (passed.length > 0 && options.addresses.length > 0) {
    throw new UsageError(
      '-H is of no use here, systemd has opened sockets already: systemctl edit wormholed-tcp.socket',
    );
  }
  requireRoot('', 'wormholed');
  await runDaemon(options, passed);
}

function check(words: OptionWords) {
  try {
    return checkOptions(words);
  } catch (error) {
    if (error instanceof WrongOption || error instanceof NoAddress) throw new UsageError(error.message);
    throw error;
  }
}
