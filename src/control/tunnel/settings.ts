import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { split } from 'shlex';
import { checkOptions, type DaemonOptions, DEFAULTS } from '../api/options.js';

/** What wormholed's options say about tunnels; they hold for the commands of this machine as well. */
export type TunnelSettings = Pick<
  DaemonOptions,
  'keyFile' | 'internal' | 'external' | 'overlay' | 'udpPorts'
>;

/** The options of the installed wormholed. */
const FILE = '/etc/wormhole/wormholed.conf';

/** Reads what the installed wormholed is told about tunnels. @throws WrongOption */
export function installedSettings(): TunnelSettings {
  const { values } = parseArgs({
    args: words(),
    strict: false,
    options: {
      key: { type: 'string', short: 'K' },
      internal: { type: 'string', short: 'I' },
      external: { type: 'string', short: 'E' },
      overlay: { type: 'string', short: 'C' },
      ports: { type: 'string', short: 'P' },
      // It takes a value too, and would else leave that behind.
      idle: { type: 'string' },
    },
  });
  const given = Object.entries(values).filter(([, value]) => typeof value === 'string');
  const { keyFile, overlay, ports, idle } = { ...DEFAULTS, ports: DEFAULTS.udpPorts };
  return checkOptions({ key: keyFile, overlay, ports, idle, ...Object.fromEntries(given) });
}

/** systemd takes quotes off the value and splits what is in them at spaces (EnvironmentFile= and ExecStart=). */
function words(): string[] {
  let text: string;
  try {
    text = readFileSync(FILE, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const value = [...text.matchAll(/^\s*WORMHOLED_ARGS=(.*)$/gm)].at(-1)?.[1] ?? '';
  return split(value)
    .join(' ')
    .split(/\s+/)
    .filter((word) => word !== '');
}
