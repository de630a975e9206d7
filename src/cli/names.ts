import { type Command, Option } from 'commander';
import { type About, type JournalEntry, logEntry } from '../systemd/journal-entry.js';

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
      const writer = (priority: JournalEntry['priority']) => (message: string, about: About) =>
        logEntry({ message, identifier: `wormhole-${link}`, priority, about });
      const log = { info: writer(6), warn: writer(4) };
      await serveName(service, passedSockets(process.env, process.pid), log);
    });
}
