import { type Endpoint, parseEndpoint } from '../api/endpoint.js';
import { checkSettings, type SettingWords, type TunnelSettings, WrongOption } from '../tunnels/settings.js';

/**
 * How a daemon is configured. `endpoints` is where it listens when started by hand; empty stands for the usual ones. Started
 * by systemd, it ends after `idle` seconds without a caller.
 */
export interface DaemonOptions extends TunnelSettings {
  endpoints: Endpoint[];
  idle: number;
}

/** The default of `--idle`, seconds. */
export const DEFAULT_IDLE = '60';

/** The words of wormholed's options, as they were typed. */
export interface OptionWords extends SettingWords {
  host?: string[];
  idle: string;
}

/** Checks the options of wormholed. @throws WrongOption, InvalidEndpoint */
export function checkOptions(words: OptionWords): DaemonOptions {
  return {
    ...checkSettings(words),
    endpoints: (words.host ?? []).map(parseEndpoint),
    idle: checkIdle(words.idle),
  };
}

function checkIdle(text: string): number {
  const seconds = /^[0-9]{1,6}$/.test(text) ? Number(text) : 0;
  if (seconds >= 1) return seconds;
  throw new WrongOption(`--idle "${text}" is not a number of seconds, 1 or more`);
}
