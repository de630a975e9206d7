import { dockerModule } from './docker-module.ts';
import type { Host } from './rig/host.ts';

/** What a call said went wrong: the class of the error, and its message. */
export interface Failure {
  name: string;
  message: string;
}

/** How a call ended: with its value, with an error, or killed on the way. */
export interface Outcome<T> {
  value?: T;
  failure?: Failure;
  killed: boolean;
}

// Stands before the calls: all exports of src/docker and src/docker-run by their names, and a death at the given moment.
const preamble = (module: string) => `
  Object.assign(globalThis, (await import('${module}')).default);
  const deadline = Number(process.env.DIE_AT ?? Infinity);
  const { modem } = await engineWithoutTimeout();
  const dial = modem.dial;
  let actions = 0;
  modem.dial = (await engine()).modem.dial = function (options, callback) {
    const acts = options.method !== 'GET' && ++actions;
    dial.call(this, options, (...answer) => {
      if (acts === deadline) process.kill(process.pid, 'SIGKILL');
      callback(...answer);
    });
  };
`;

/**
 * Runs calls to src/docker on a host.
 *
 * @param body of an async function, in which all exports of src/docker are in scope; returns something that JSON knows
 * @param dieAt kills the process when the engine has carried out that many of its requests and before it is told so
 */
export async function call<T>(
  host: Host,
  body: string,
  dieAt = Number.POSITIVE_INFINITY,
): Promise<Outcome<T>> {
  const script = `${preamble(await dockerModule(host))}
    const outcome = await (async () => { ${body} })().then(
      (value) => ({ value }),
      (error) => ({ failure: { name: error.constructor.name, message: error.message } }),
    );
    process.stdout.write(JSON.stringify(outcome) + '\\n', () => process.exit());`;
  const { stdout, stderr } = await host.run(
    ['env', `DIE_AT=${dieAt}`, 'node', '--input-type=module', '-e', script],
    {
      check: false,
      timeout: 180,
    },
  );
  if (stdout === '' && dieAt < Number.POSITIVE_INFINITY) return { killed: true };
  if (stdout === '') throw new Error(`the calls did not end: ${stderr}`);
  return { ...JSON.parse(stdout), killed: false };
}

/** Runs calls to src/docker that have to succeed, and returns their value. */
export async function done<T = unknown>(host: Host, body: string): Promise<T> {
  const { value, failure } = await call<T>(host, body);
  if (failure) throw new Error(`${failure.name}: ${failure.message}`);
  return value as T;
}

/** Runs calls to src/docker that have to fail, and returns `CLASS: MESSAGE`, which is one line. */
export async function failing(host: Host, body: string): Promise<string> {
  const { value, failure } = await call(host, body);
  if (!failure) throw new Error(`it did not fail, but returned ${JSON.stringify(value)}`);
  if (/\n/.test(failure.message)) throw new Error(`not one line: ${failure.message}`);
  return `${failure.name}: ${failure.message}`;
}

/** The words for: start holder and container of the run `name` with the arguments of a docker-run. */
export function starting(name: string, args: string): string {
  const [quotedName, quotedArgs] = [JSON.stringify(name), JSON.stringify(args)];
  return `const request = parseRunArguments(${quotedArgs});
    await startHolder(${quotedName}, 'link', request);
    return startContainer(${quotedName}, 'link', request);`;
}
