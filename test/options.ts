import { type ParseArgsConfig, parseArgs } from 'node:util';

/** Parses the options of a program of `npm run`, as parseArgs() does. Ends the process with one line about what it does not know. */
export function parseOptions<T extends ParseArgsConfig>(
  program: string,
  config: T,
): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    const known = Object.keys(config.options ?? {}).map((name) => `--${name}`);
    const [what = ''] = (error as Error).message.split(/\. (?:This command|To specify)/);
    console.error(`npm run ${program}: ${what}; there is ${known.join(', ')}`);
    return process.exit(2);
  }
}
