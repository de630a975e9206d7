import type { Result, RunOptions } from './shell.ts';

/** A container on a host, by name or id. */
export interface Container {
  /** Runs a command of the container's own in it (`docker exec`). A string is a command line for its sh. */
  run(command: string | string[], options?: RunOptions): Promise<Result>;
  /** Runs a command of the host's, such as curl or mysql, in the container's network namespace. */
  runInNetwork(command: string | string[], options?: RunOptions): Promise<Result>;
  /** Returns one field of `docker inspect`, such as `{{.State.Running}}`. */
  inspect(format: string): Promise<string>;
}

/** Returns the container `name` of the host whose commands `run` runs; it need not exist yet. */
export function container(
  run: (argv: string[], options?: RunOptions) => Promise<Result>,
  name: string,
): Container {
  const inspect = async (format: string) =>
    (await run(['docker', 'inspect', '--format', format, name])).stdout.trim();
  return {
    inspect,
    run: (command, options = {}) => {
      const argv = typeof command === 'string' ? ['sh', '-c', command] : command;
      return run(['docker', 'exec', ...(options.input === undefined ? [] : ['-i']), name, ...argv], options);
    },
    async runInNetwork(command, options) {
      const pid = await inspect('{{.State.Pid}}');
      const argv = typeof command === 'string' ? ['bash', '-c', command] : command;
      return run(['nsenter', '-t', pid, '-n', ...argv], options);
    },
  };
}
