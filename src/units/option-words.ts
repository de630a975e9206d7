import { formatDuration } from '../recipe/duration.js';
import { quoteForShell } from '../recipe/text.js';
import { type CreateOptions, DEFAULT_OPTIONS } from './plan.js';

/** The options of `wormhole create`, and how their values are typed. One that ends with = is followed by its value, without a space. */
const OPTIONS = {
  startTimeout: ['--start-timeout', formatDuration],
  udpTimeout: ['--udp-timeout', formatDuration],
  maxConnections: ['--max-connections', String],
  maxPerSource: ['--max-per-source', String],
  rate: ['--rate', String],
  idleTimeout: ['--idle-timeout', formatDuration],
  keepAlive: ['--keepalive', formatDuration],
  socketMode: ['--mode', String],
  socketOwner: ['--owner', String],
  group: ['--group', String],
  pull: ['--pull', String],
  balance: ['--balance', String],
  check: ['--check', formatDuration],
  workers: ['--workers', String],
  proxyProtocol: ['--proxy-protocol=', String],
  acceptProxyProtocol: ['--accept-proxy-protocol', String],
} as const satisfies { [name in keyof CreateOptions]-?: [option: string, write: (value: never) => string] };

/** Values of options, perhaps of a later version of another machine. */
export type OptionValues = { readonly [name in keyof CreateOptions]?: string | number | readonly string[] };

/** The options that differ from the defaults. */
export function nonDefaultOptions(options: CreateOptions): Partial<CreateOptions> {
  const spoken = Object.keys(OPTIONS).filter((name) => {
    const value = options[name as keyof CreateOptions];
    return value !== undefined && value !== DEFAULT_OPTIONS[name as keyof CreateOptions];
  });
  return Object.fromEntries(spoken.map((name) => [name, options[name as keyof CreateOptions]]));
}

/** Options as they are typed, quoted for a shell: "--max-connections 50", "--proxy-protocol=v2". */
export function optionWords(options: OptionValues): string[] {
  return Object.entries(OPTIONS).flatMap(([name, [option, write]]) => {
    const value = options[name as keyof CreateOptions];
    if (value === undefined) return [];
    const space = option.endsWith('=') ? '' : ' ';
    return `${option}${space}${quoteForShell(write(value as never))}`;
  });
}
