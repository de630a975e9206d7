import { readdirSync } from 'node:fs';
import { isServiceName, type ServiceMachine } from '../recipe/services.js';
import { readDataFile } from '../system/data-file.js';
import { readEtcdConfig } from './etcd/config.js';
import { lookUpInEtcd } from './etcd/machines.js';
import { parseMachinesFile } from './machines-file.js';
import { isSrvName, lookUpSrv } from './srv.js';

/** Where the machines of services are listed, a file a service. */
export const SERVICES_DIR = '/etc/wormhole/services.d';

/**
 * The most machines of a service that a link has. Each is a part of the link, with units of its own, and is asked for one. Someone who
 * can write to a registry could otherwise keep every machine that looks up a service busy for hours, and fill systemd with units.
 */
const MOST_MACHINES = 256;

/** No registry names a machine of a service, and none was known before. */
export class NoMachine extends Error {}

/** The machines of a service, and who has named them. */
export interface Answer {
  machines: ServiceMachine[];
  source: string;
}

/** As {@link Answer}. With a `problem`, the registry has not answered, and they are those that were known before. */
export interface FoundService extends Answer {
  problem?: string;
}

/**
 * Looks up the machines that publish a service: in the file of {@link SERVICES_DIR}; if it has none
 * and is a name of SRV records, in DNS; and else in etcd, if a file says where that is.
 *
 * @param known the machines that a link has, which stay when no registry names any
 * @param ask asks the registries; throws when none knows of the service, or the one that should cannot be asked
 * @throws NoMachine when nothing is known either; it says what is wrong with the registry
 */
export async function lookUpService(
  name: string,
  known: ServiceMachine[],
  ask: (name: string) => Promise<Answer> = askRegistries,
): Promise<FoundService> {
  try {
    const answer = await ask(name);
    const count = answer.machines.length;
    if (count === 0) throw new NoMachine(`${answer.source} names no machine of service "${name}"`);
    if (count > MOST_MACHINES)
      throw new NoMachine(
        `${answer.source} names ${count} machines of service "${name}", of which a link has ${MOST_MACHINES} at most`,
      );
    return answer;
  } catch (error) {
    const { message } = error as Error;
    if (known.length === 0) throw new NoMachine(message);
    return { machines: known, source: 'the link', problem: message };
  }
}

/**
 * The answer of the first registry that knows of the service.
 *
 * @param directory where files list machines
 * @throws Error when none does, or the one that should cannot be asked
 */
export async function askRegistries(name: string, directory = SERVICES_DIR): Promise<Answer> {
  const path = `${directory}/${name}`;
  const text = readDataFile(path);
  if (text !== undefined) return { machines: parseMachinesFile(text, path), source: path };
  if (isSrvName(name)) return { machines: await lookUpSrv(name), source: 'DNS' };
  const etcd = readEtcdConfig();
  if (etcd) return { machines: await lookUpInEtcd(etcd, name), source: 'etcd' };
  throw new NoMachine(`service "${name}" is unknown: list its machines in ${path}, one a line`);
}

/** The names that have a file in {@link SERVICES_DIR}, or another directory. */
export function listedNames(directory = SERVICES_DIR): string[] {
  try {
    return readdirSync(directory).filter(isServiceName);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
