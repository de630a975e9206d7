#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { InvalidEndpoint, LOCAL } from '../api/endpoint.js';
import { runDaemon } from '../daemon/daemon.js';
import { checkOptions, DEFAULT_IDLE, type OptionWords } from '../daemon/options.js';
import { version } from '../state/installation.js';
import { passedSockets } from '../systemd/listen-fds.js';
import { DEFAULT_SETTINGS, WrongOption } from '../tunnels/settings.js';
import { exitStatus, fail, oneLine, requireRoot, UsageError } from './fail.js';
import { handleLostOutput } from './output.js';

const HELP = `
systemd starts it on a connection (wormholed.socket, wormholed-tcp.socket); options then go into
/etc/wormhole/wormholed.conf, and the addresses are those of the sockets. Started by hand, it stays in the foreground.
More: man wormholed`;

handleLostOutput('wormholed');

const program = new Command('wormholed')
  .description('Creates and deletes links of this machine for other machines.')
  .version(version(), '--version', 'print the version')
  .helpOption('-h, --help', 'print this help')
  .option(
    '-K, --key <file>',
    'the key that callers must have; every line of it is accepted',
    DEFAULT_SETTINGS.keyFile,
  )
  .option(
    '-H, --host <address>',
    `listen there, tcp://HOST:PORT or unix:///PATH; repeatable (default: unix://${LOCAL.path}, and with a key tcp://0.0.0.0:9999)`,
    (address: string, others: string[] = []) => [...others, address],
  )
  .option('-I, --internal <address>', "this machine's own address for tunnels")
  .option('-E, --external <address>', 'the address that other machines reach this one by, for tunnels')
  .option('-C, --overlay <cidr>', 'where tunnels take their addresses from', DEFAULT_SETTINGS.overlay)
  .option('-P, --ports <range>', 'UDP ports for tunnels in UDP', DEFAULT_SETTINGS.udpPorts)
  .option('--idle <seconds>', 'started by systemd, end after this long without a caller', DEFAULT_IDLE)
  .addHelpText('after', HELP)
  .allowExcessArguments(false)
  .configureOutput({ outputError: (text, write) => write(oneLine(text, 'wormholed')) })
  .exitOverride()
  .action(run);

program.parseAsync().catch((error) => {
  if (!(error instanceof CommanderError)) fail(error, 'wormholed');
  else if (error.exitCode !== 0) process.exitCode = exitStatus.usage;
  // The daemon may have opened some of its sockets before it failed to open another.
  process.exit();
});

async function run(words: OptionWords): Promise<void> {
  const options = check(words);
  const passed = passedSockets(process.env, process.pid);
  if (passed.length > 0 && options.endpoints.length > 0) {
    throw new UsageError(
      '-H has no effect here, since systemd has opened the sockets: systemctl edit wormholed-tcp.socket',
    );
  }
  requireRoot('', 'wormholed');
  await runDaemon(options, passed);
}

function check(words: OptionWords) {
  try {
    return checkOptions(words);
  } catch (error) {
    if (error instanceof WrongOption || error instanceof InvalidEndpoint) throw new UsageError(error.message);
    throw error;
  }
}
