import { Command } from 'commander';
import { isNetwork } from '../text/network.js';
import type { CreateOptions } from '../units/plan.js';
import { UsageError } from './fail.js';

/** The options of `wormhole create` about PROXY headers, as they were typed. */
export interface ProxyFlags {
  proxyProtocol?: string;
  acceptProxyProtocol?: string[];
}

const SENDING = '--proxy-protocol';

/** Adds the options of `wormhole create` about PROXY headers. */
export function addProxyOptions(create: Command): void {
  create
    .option(
      `${SENDING} [version]`,
      'tell the target who the client is, by a PROXY header: =v1 or =v2 (default)',
    )
    .option(
      '--accept-proxy-protocol <networks>',
      'clients from there, such as 10.0.0.0/8,fd00::/8, are proxies and begin with a PROXY header',
      (text, before: string[] = []) => [...before, ...text.split(',')],
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
  if (version !== undefined && version !== 'v1' && version !== 'v2')
    throw new UsageError(`${SENDING}="${version}": expected v1 or v2`);
  const wrong = networks?.find((network) => !isNetwork(network));
  if (wrong !== undefined)
    throw new UsageError(
      `--accept-proxy-protocol "${wrong}": expected networks of proxies, such as 10.0.0.0/8,fd00::/8`,
    );
  return {
    ...(version !== undefined && { proxyProtocol: version }),
    ...(networks !== undefined && { acceptProxyProtocol: networks }),
  };
}
