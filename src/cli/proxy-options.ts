import { Command, Option } from 'commander';
import { readNetworks, readProxyVersion } from '../units/create-options.js';
import type { CreateOptions } from '../units/plan.js';
import { optionValue } from './option-value.js';

/** The options of `wormhole create` about PROXY headers, as they were typed. */
export interface ProxyFlags {
  proxyProtocol?: 'v1' | 'v2';
  acceptProxyProtocol?: string[];
}

const SENDING = '--proxy-protocol';
const ACCEPTING = '--accept-proxy-protocol';

/** Adds the options of `wormhole create` about PROXY headers. */
export function addProxyOptions(create: Command): void {
  create
    .addOption(
      new Option(
        `${SENDING} [version]`,
        'tell the target who the client is, by a PROXY header; =v2 if the version is left out',
      )
        .choices(['v1', 'v2'])
        .argParser((text) => optionValue(`${SENDING}=`, text, readProxyVersion)),
    )
    .option(
      `${ACCEPTING} <networks>`,
      'clients from there, such as 10.0.0.0/8,fd00::/8, are proxies and begin with a PROXY header',
      (text, before: string[] = []) => [...before, text],
    );
  // commander would take the first word of the recipe for the version.
  create.parseOptions = (words) =>
    Command.prototype.parseOptions.call(
      create,
      words.map((word) => (word === SENDING ? `${SENDING}=v2` : word)),
    );
}

/** Reads the options. @throws UsageError */
export function readProxyFlags(
  flags: ProxyFlags,
): Pick<CreateOptions, 'proxyProtocol' | 'acceptProxyProtocol'> {
  const { proxyProtocol: version, acceptProxyProtocol: networks } = flags;
  return {
    ...(version !== undefined && { proxyProtocol: version }),
    ...(networks !== undefined && {
      acceptProxyProtocol: networks.flatMap((text) => optionValue(ACCEPTING, text, readNetworks)),
    }),
  };
}
