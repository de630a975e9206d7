import { isTunnelNumber } from './names.js';

/** A security association of a tunnel as the kernel has it. `added` is in ms since the epoch; `encapsulation` as ip takes it. */
export interface KernelAssociation {
  src: string;
  dst: string;
  spi: number;
  number: number;
  bytes: number;
  packets: number;
  added: number;
  errors: AssociationErrors;
  encapsulation?: string;
}

/**
 * Packets that an incoming association has discarded: they came again (`replay`), too late for the window that tells whether they do
 * (`window`), or did not prove to be of the other machine (`authentication`). `stats:` of ip(8).
 */
export interface AssociationErrors {
  replay: number;
  window: number;
  authentication: number;
}

/** A policy as the kernel has it. `number` is the reqid of its template, `ends` the template's addresses. */
export interface KernelPolicy {
  src: string;
  dst: string;
  dir: string;
  /** By which it can be deleted, whatever it consists of. */
  index: number;
  action: string;
  priority: number;
  ifId: number;
  number?: number;
  ends?: { src: string; dst: string };
  /** The name of the device that it is bound to. */
  device?: string;
}

/** Reads what `ip -s xfrm state list nokeys` prints with TZ=UTC; only those of tunnels are returned, whole ones. */
export function parseAssociations(text: string): KernelAssociation[] {
  return items(text).flatMap((item) => {
    const [, src, dst] = /^src (\S+) dst (\S+)/.exec(item) ?? [];
    const [, spi, number] = /proto esp spi (0x[0-9a-f]+)\S* reqid (\d+)/.exec(item) ?? [];
    const [, bytes, packets] = /lifetime current:\s+(\d+)\(bytes\), (\d+)\(packets\)/.exec(item) ?? [];
    const added = /lifetime current:[\s\S]*?\badd (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)/.exec(item);
    const [, window, replay, failed] =
      /stats:\s+replay-window (\d+) replay (\d+) failed (\d+)/.exec(item) ?? [];
    // What the kernel only wishes for when it has none has a number too, but no key.
    if (!src || !dst || !spi || !number || !added || !/^\s+aead /m.test(item)) return [];
    if (!isTunnelNumber(Number(number))) return [];
    const [, type, sport, dport, address] =
      /encap type (\S+) sport (\d+) dport (\d+) addr (\S+)/.exec(item) ?? [];
    return {
      src,
      dst,
      spi: Number(spi),
      number: Number(number),
      bytes: Number(bytes),
      packets: Number(packets),
      added: Date.parse(`${added[1]}T${added[2]}Z`),
      errors: {
        replay: Number(replay ?? 0),
        window: Number(window ?? 0),
        authentication: Number(failed ?? 0),
      },
      ...(type === undefined ? {} : { encapsulation: `${type} ${sport} ${dport} ${address}` }),
    };
  });
}

/** Reads what `ip -s xfrm policy list` prints. */
export function parsePolicies(text: string): KernelPolicy[] {
  return items(text).flatMap((item) => {
    const [, src, dst, device] = /^src (\S+) dst (\S+)(?: dev (\S+))?/.exec(item) ?? [];
    const [, dir, action, index, priority] =
      /dir (\w+) action (\w+) index (\d+) priority (\d+)/.exec(item) ?? [];
    // Those of a socket have no index that can be given.
    if (!src || !dst || !dir || !action) return [];
    const [, from, to] = /tmpl src (\S+) dst (\S+)/.exec(item) ?? [];
    const number = /\breqid (\d+)/.exec(item)?.[1];
    return {
      src,
      dst,
      dir,
      index: Number(index),
      action,
      priority: Number(priority),
      ifId: Number(/if_id (0x[0-9a-f]+)/.exec(item)?.[1] ?? 0),
      ...(number === undefined ? {} : { number: Number(number) }),
      ...(from && to ? { ends: { src: from, dst: to } } : {}),
      ...(device === undefined ? {} : { device }),
    };
  });
}

/** Each begins with a line that is not indented. */
function items(text: string): string[] {
  return text.split(/^(?=src )/m).filter((item) => item.startsWith('src '));
}
