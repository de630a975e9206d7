import { type Command, Option } from 'commander';
import { printable } from '../text/printable.js';

/** The file that systemd opens as standard output (sd-daemon(3)): the forwarder reads it. */
const FILE = 1;

interface NamesOptions {
  link: string;
  name: string;
  port: string;
  loopback?: boolean;
}

/** Adds `wormhole names`, which wormhole-names@ID.service runs; it is not for people. */
export function addNames(program: Command): void {
  program
    .command('names', { hidden: true })
    .description('look up the name of the tail of a link whenever its forwarder asks')
    .addOption(new Option('--link <id>').makeOptionMandatory())
    .addOption(new Option('--name <name>').makeOptionMandatory())
    .addOption(new Option('--port <port>').makeOptionMandatory())
    .addOption(new Option('--loopback', 'the hosts file may give it a loopback address'))
    .action(async ({ link, name, port, loopback }: NamesOptions) => {
      const { passedSockets } = await import('../systemd/listen-fds.js');
      const { serveName } = await import('../names/serve.js');
      const service = { link, name, port: Number(port), allowLoopback: loopback === true, file: FILE };
      await serveName(service, passedSockets(process.env, process.pid), logToStderr);
    });
}

/** With a priority of sd-daemon(3). */
function logToStderr(line: string, isWarning: boolean): void {
  process.stderr.write(`<${isWarning ? 4 : 6}>${printable(line)}\n`);
}
