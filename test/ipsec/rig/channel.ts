import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { quote } from 'shlex';
import { killGroup, type Running, removeTree, run, start } from '../../lab/rig/shell.ts';

// Commands go through ssh(1) over a network card beside eth0: whatever a test does to the machine's network, they get
// through. One connection carries them all, each in a session of its own.

const options = [
  ...['-F', 'none', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
  ...['-o', 'BatchMode=yes', '-o', 'LogLevel=ERROR'],
];

const control = (directory: string) => join(directory, 'ssh');

/**
 * Waits for the machine whose state is in `directory` to connect, in the network namespace `namespace`, and has it take commands.
 * Ends when this process does, or by what is returned.
 */
export function connectChannel(directory: string, namespace: string): () => Promise<void> {
  removeTree(control(directory));
  const proxy = `nsenter --net=/run/netns/${namespace} socat - TCP-LISTEN:22,reuseaddr`;
  const argv = [
    '--pdeathsig=KILL',
    'ssh',
    ...options,
    ...['-M', '-N', '-S', control(directory), '-o', `ProxyCommand=${proxy}`],
    'root@vm',
  ];
  const child = spawn('setpriv', argv, { detached: true, stdio: 'ignore' });
  child.unref();
  return async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    killGroup(child.pid ?? 0, 'SIGKILL');
    await exited;
  };
}

/** Whether the machine takes commands. */
export function isConnected(directory: string): boolean {
  return existsSync(control(directory));
}

let commands = 0;

/** The argv that runs the command line `line` on the machine, by its login shell. */
function ssh(directory: string, line: string): string[] {
  // Without a connection ssh would look for a machine of that name.
  return ['ssh', ...options, '-S', control(directory), '-o', 'ProxyCommand=false', 'root@vm', '--', line];
}

/** The argv that runs `argv` on the machine, as root with a clean environment; `id` is what its process group is known by. */
export function remoteArgv(directory: string, argv: string[], id = `${++commands}`): string[] {
  return ssh(directory, ['/etc/lab/run', id, ...argv].map(quote).join(' '));
}

/** Starts `argv` on the machine and returns at once. */
export function startRemote(directory: string, argv: string[]): Running {
  const id = `${++commands}`;
  const local = start(remoteArgv(directory, argv, id));
  const kill = (signal: string) =>
    run(ssh(directory, `kill -s ${signal} -- -$(cat /run/lab/${id})`), { check: false, timeout: 10 }).catch(
      () => {},
    );
  return {
    ...local,
    async stop(signal = 'SIGTERM') {
      const timers = [
        setTimeout(() => kill('KILL'), 5000),
        // The machine may have ended, or be too busy to obey.
        setTimeout(() => local.stop('SIGKILL'), 15_000),
      ];
      kill(signal.replace('SIG', ''));
      const result = await local.exited;
      for (const timer of timers) clearTimeout(timer);
      return result;
    },
  };
}
