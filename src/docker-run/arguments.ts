import { parseArgs } from 'node:util';
import { split } from 'shlex';
import { checkImageReference } from './image-reference.js';
import { readSwitch, refusals, runOptions } from './options.js';
import { RunArgumentError, type RunRequest } from './request.js';

/*
 * The arguments may be secret. So no message quotes any of them but the names of options: it tells their places instead.
 */

/**
 * Reads the arguments of a `docker-run`: words as in a shell, of which the first ones are options of docker run, then
 * comes the image, and all that follows is the command. Nothing is expanded: no variables, no `~`, no `*`.
 *
 * @throws RunArgumentError for an option that is not supported or makes no sense, a value that is wrong, no image
 */
export function parseRunArguments(args: string): RunRequest {
  const words = shellWords(args);
  const { tokens } = parseArgs({ args: words, options: spelling, strict: false, tokens: true });
  // Options end at the image, whatever the words behind it look like: they are the command's.
  const end = tokens.find(({ kind }) => kind !== 'option');
  const at = end === undefined ? words.length : end.index + (end.kind === 'option-terminator' ? 1 : 0);
  const request: RunRequest = {
    image: '',
    envFiles: [],
    holder: { HostConfig: {} },
    container: { HostConfig: {} },
  };
  for (const token of tokens) {
    if (token === end) break;
    if (token.kind === 'option') readOption(token, request);
  }
  const [image, ...command] = words.slice(at);
  if (image === undefined || image === '')
    throw new RunArgumentError('it needs an image, such as docker-run nginx');
  checkImageReference(image, at + 1);
  request.image = image;
  if (command.length > 0) request.container.Cmd = command;
  checkPorts(request);
  return request;
}

interface OptionToken {
  index: number;
  name: string;
  rawName: string;
  value?: string | undefined;
  inlineValue?: boolean | undefined;
}

const spelling = Object.fromEntries(
  Object.entries(runOptions).map(([name, { short, takes }]) => [
    name,
    { type: takes === 'switch' ? ('boolean' as const) : ('string' as const), ...(short && { short }) },
  ]),
);

function shellWords(args: string): string[] {
  try {
    return split(args);
  } catch {
    throw new RunArgumentError('its arguments end inside a quote or after a backslash');
  }
}

function readOption({ index, name, rawName, value, inlineValue }: OptionToken, request: RunRequest): void {
  const refusal = refusals.get(name);
  if (refusal !== undefined) {
    if (value === undefined || readSwitch(value)) throw new RunArgumentError(`${rawName}: ${refusal}`);
    return;
  }
  const option = Object.hasOwn(runOptions, name) ? runOptions[name] : undefined;
  if (option === undefined) {
    // What does not look like an option may be something else, in which a blank stands before a hyphen.
    const what = /^--?[a-zA-Z]?[a-z_-]*$/.test(rawName) ? rawName : `word ${index + 1} of its arguments`;
    throw new RunArgumentError(`${what} is not supported; these options are: ${known}`);
  }
  if (option.takes === 'value' && value === undefined) throw new RunArgumentError(`${rawName} needs a value`);
  // docker run reads -e=A=B as -e A=B.
  const short = rawName.length === 2 && inlineValue === true && value?.startsWith('=');
  const text = (short ? value?.slice(1) : value) ?? 'true';
  try {
    option.read(text, request);
  } catch (error) {
    if (!(error instanceof RunArgumentError)) throw error;
    throw new RunArgumentError(`${rawName} (word ${index + 1} of its arguments): ${error.message}`);
  }
}

const known = Object.keys(runOptions)
  .map((name) => `--${name}`)
  .sort()
  .join(', ');

function checkPorts({ holder }: RunRequest): void {
  const network = holder.HostConfig?.NetworkMode;
  if (holder.ExposedPorts === undefined || (network !== 'host' && network !== 'none')) return;
  throw new RunArgumentError(`--publish makes no sense with --network ${network}, which has no ports to map`);
}
