import { statSync } from 'node:fs';
import { type Key, readKeys } from '../api/key.js';
import { readTunnels } from '../state/tunnels.js';
import { UNIT_DIR } from '../systemd/unit-files.js';
import type { Tunnel } from '../units/tunnel.js';
import { NEGOTIATION_DIR, openAnswers } from './negotiation.js';

/** Files are not looked at more often than this, ms, however many strangers there are. */
const SHORTEST_MS = 50;

/** A change that is not seen because it came within the resolution of a timestamp is seen after this long, ms. */
const UNSETTLED_MS = 1_000;

/** A unit that was edited in place, which leaves its directory as it was, is read again after this long, ms. */
const LIFETIME_MS = 20_000;

/**
 * The tunnels in UDP, those included that other machines have yet to confirm, and the keys of their machines. Strangers can have
 * them looked up as often as they like, so files are read again only when they have changed.
 */
export interface KnownTunnels {
  all(): Tunnel[];
  find(id: string): Tunnel | undefined;
  /** @throws KeyUnusable */
  keysOf(tunnel: Tunnel): Key[];
}

/** Reads what is known now, and from then on what has changed. */
export function createKnownTunnels(): KnownTunnels {
  const tunnels = keepWhile(() => {
    const all = [...readTunnels().tunnels, ...openAnswers().map(({ tunnel }) => tunnel)];
    return new Map(all.filter(({ mode }) => mode === 'udp').map((tunnel) => [tunnel.id, tunnel]));
  }, [UNIT_DIR, NEGOTIATION_DIR]);
  const keys = new Map<string, () => Key[]>();
  return {
    all: () => [...tunnels().values()],
    find: (id) => tunnels().get(id),
    keysOf({ keyFile }) {
      const read = keys.get(keyFile) ?? keepWhile(() => readKeys(keyFile), [keyFile]);
      keys.set(keyFile, read);
      return read();
    },
  };
}

/** Returns what `read` has returned, and calls it again when a file or directory of `paths` has changed, or after a while. */
function keepWhile<T>(read: () => T, paths: string[]): () => T {
  let kept: { value: T; state: string; readAt: number; checkedAt: number } | undefined;
  return () => {
    // The clock of the machine may be set back; it only tells how old a timestamp is.
    const now = performance.now();
    if (kept !== undefined && now - kept.checkedAt < SHORTEST_MS) return kept.value;
    const found = paths.map((path) => statSync(path, { bigint: true, throwIfNoEntry: false }));
    const state = found.map((one) => `${one?.ino} ${one?.ctimeNs} ${one?.mtimeNs}`).join(' ');
    const isSettled = found.every(
      (one) => one === undefined || Number(one.ctimeMs) < Date.now() - UNSETTLED_MS,
    );
    const isCurrent = kept?.state === state && isSettled && now - kept.readAt < LIFETIME_MS;
    if (kept !== undefined && isCurrent) kept.checkedAt = now;
    else kept = { value: read(), state, readAt: now, checkedAt: now };
    return kept.value;
  };
}
