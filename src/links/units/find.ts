import { withSystemd } from '../../systemd/systemd.js';
import { quoted } from '../../text/quote.js';

/** A service that does not exist, or that a connection cannot start. */
export class NoSuchUnit extends Error {}

/** The settings that give a service a network namespace other than this host's (systemd.exec(5)). */
const NAMESPACE_SETTINGS = ['PrivateNetwork', 'NetworkNamespacePath'];

/**
 * Finds a service that a link is to start.
 *
 * @param name that of the service, or an alias
 * @returns its own name
 * @throws NoSuchUnit when systemd does not load it, or a connection to this host could not reach what it starts
 */
export function findUnit(name: string): Promise<string> {
  return withSystemd(async (systemd) => {
    const unit = await systemd.properties(name, 'Unit');
    const own = String(unit.Id);
    const refuse = (why: string): never => {
      throw new NoSuchUnit(`unit ${quoted(name)} ${why}`);
    };
    const load = String(unit.LoadState);
    if (load === 'not-found')
      refuse('does not exist: systemctl list-unit-files --type service has those that do');
    if (load === 'masked') refuse(`is masked, so nothing can start it: systemctl unmask ${name}`);
    if (load !== 'loaded') refuse(`cannot be loaded (${load}): see systemctl status ${name}`);
    if (/^wormholed?[-.@]/.test(own)) refuse(`is ${own}, one of Wormhole's own units`);
    if (!own.endsWith('.service')) refuse(`is ${own}, and a connection starts a service`);
    if (unit.RefuseManualStart === true) refuse('may not be started by hand (RefuseManualStart=)');
    const service = await systemd.properties(own, 'Service');
    if (service.Type === 'oneshot' && service.RemainAfterExit !== true)
      refuse('is over as soon as it has run (Type=oneshot), so no client can use it');
    const setting = NAMESPACE_SETTINGS.find((key) => ![false, '', undefined].includes(service[key] as false));
    if (setting !== undefined)
      refuse(
        `runs in a network namespace of its own (${setting}=), where a link to this host does not reach it`,
      );
    return own;
  });
}
