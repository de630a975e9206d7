import * as v from 'valibot';
import { RecipeError } from '../../recipe/error.js';
import { parsePeer } from '../../recipe/names.js';
import { isServiceName, type ServiceMachine } from '../../recipe/services.js';
import { createEtcdClient, readBody } from './client.js';
import type { EtcdConfig } from './config.js';

/** The value of a machine's key: what it publishes. */
const machineValue = v.object({ services: v.array(v.string()) });

/** Keys and values are in base64; int64 comes as a string. */
const rangeBody = v.object({
  kvs: v.optional(v.array(v.object({ key: v.string(), value: v.optional(v.string(), '') })), []),
});

/**
 * The machines that say in etcd that they publish a service, by name. There is one key a machine, so nothing grows with machines times
 * services. A key that does not name a machine is skipped. Someone who can write there could also leave machines out.
 *
 * @throws EtcdFault
 */
export async function lookUpInEtcd(config: EtcdConfig, name: string): Promise<ServiceMachine[]> {
  const client = createEtcdClient(config);
  const range = { key: base64(config.prefix), range_end: base64(endOf(config.prefix)) };
  const body = await client.call('/v3/kv/range', range, v.unknown());
  return machinesOfRange(body, { prefix: config.prefix, name });
}

/** As {@link lookUpInEtcd}, from the body of the answer. @throws EtcdFault */
export function machinesOfRange(
  body: unknown,
  { prefix, name }: { prefix: string; name: string },
): ServiceMachine[] {
  const { kvs } = readBody(rangeBody, body);
  const hosts = kvs
    .filter(({ value }) => servicesIn(decode(value)).includes(name))
    .flatMap(({ key }) => hostOf(decode(key).slice(prefix.length)));
  return [...new Set(hosts)].sort().map((host) => ({ host }));
}

/** The text of a machine's key about what it publishes. */
export function machineText(services: string[]): string {
  return JSON.stringify({ services });
}

/** The services in the value of a machine's key; none in one that is something else. */
function servicesIn(text: string): string[] {
  try {
    const { services } = v.parse(machineValue, JSON.parse(text));
    return services.filter(isServiceName);
  } catch {
    return [];
  }
}

function hostOf(text: string): string[] {
  try {
    return [parsePeer({ text, position: 1 })];
  } catch (error) {
    if (error instanceof RecipeError) return [];
    throw error;
  }
}

/** The first key behind all that begin with `prefix`, which ends in a slash. */
function endOf(prefix: string): string {
  return `${prefix.slice(0, -1)}0`;
}

/** A text as the gateway takes keys and values. */
export function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

function decode(text: string): string {
  return Buffer.from(text, 'base64').toString();
}
