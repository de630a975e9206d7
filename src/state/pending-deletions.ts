import { closeSync, existsSync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs';
import * as v from 'valibot';
import {
  createAtomically,
  isTemporary,
  readIfExists,
  syncDirectory,
  writeAtomically,
} from '../system/files.js';
import { isUnlocked, tryLock } from '../system/flock.js';
import type { Systemd } from '../systemd/systemd.js';
import { stateDirectory } from './directory.js';

/**
 * One file for each deletion that another machine has yet to be told. What is deleted has no unit on this machine, so this is
 * state that is not in one. A file is kept until the other machine has been told.
 */
const directory = () => `${stateDirectory()}/pending-deletions`;

/** A request that was lost on the way may still arrive, as long as TCP sends it again (tcp_orphan_retries, tcp(7)), ms. */
export const STRAY_REQUEST_MS = 120_000;

const addressPair = v.object({ local: v.string(), remote: v.string() });

const common = { peer: v.string(), keyFile: v.string(), until: v.number() };

const partDeletion = v.object({
  kind: v.literal('part'),
  ...common,
  partId: v.string(),
  linkId: v.string(),
  recipe: v.string(),
});

const tunnelDeletion = v.object({
  kind: v.literal('tunnel'),
  ...common,
  tunnel: v.object({
    id: v.string(),
    peer: v.string(),
    machine: v.string(),
    outer: addressPair,
    inner: addressPair,
    mode: v.picklist(['esp', 'udp']),
    asked: v.boolean(),
    keyFile: v.string(),
  }),
});

const pendingDeletion = v.variant('kind', [partDeletion, tunnelDeletion]);

/** The part of a deleted link on machine `peer`. `linkId` and `recipe` are those of the link, for people. */
export type PartDeletion = v.InferOutput<typeof partDeletion>;

/** The side of a deleted tunnel on machine `peer`, and the tunnel as it was on this machine. */
export type TunnelDeletion = v.InferOutput<typeof tunnelDeletion>;

/**
 * What another machine has to be told: that it may remove its part of a link, or its side of a tunnel. Until `until`, ms since
 * the epoch, that part may still come into being.
 */
export type PendingDeletion = PartDeletion | TunnelDeletion;

/**
 * Deletions that this process has recorded. No other process carries them out until this one releases them or ends. After the first
 * call of either, neither does anything.
 */
export interface HeldDeletion {
  /** Forgets them: the other machines have nothing to remove after all. */
  discard(): void;
  /** Lets others carry them out. @param until as in {@link PendingDeletion} */
  release(until?: number): void;
}

/** Records a deletion, so that it outlives this process and the next boot. */
export function recordDeletion(deletion: PendingDeletion): HeldDeletion {
  mkdirSync(directory(), { recursive: true, mode: 0o700 });
  const fd = createAtomically(fileOf(deletion), JSON.stringify(deletion), { mode: 0o600, prepare: tryLock });
  let isHeld = true;
  const end = (work: () => void) => {
    if (!isHeld) return;
    isHeld = false;
    try {
      work();
    } finally {
      closeSync(fd);
    }
  };
  return {
    discard: () => end(() => forgetDeletion(deletion)),
    release: (until) =>
      end(() => {
        if (until !== undefined)
          writeAtomically(fileOf(deletion), JSON.stringify({ ...deletion, until }), { mode: 0o600 });
      }),
  };
}

/** As {@link recordDeletion}, for several. When one cannot be recorded, none is. */
export function recordDeletions(deletions: PendingDeletion[]): HeldDeletion {
  const held: HeldDeletion[] = [];
  const discard = () => {
    for (const one of held) one.discard();
  };
  try {
    for (const deletion of deletions) held.push(recordDeletion(deletion));
  } catch (error) {
    discard();
    throw error;
  }
  return {
    discard,
    release(until) {
      for (const one of held) one.release(until);
    },
  };
}

/** All pending deletions, including those of the creates and deletes that are running. */
export function pendingDeletions(): PendingDeletion[] {
  return names().flatMap((name) => {
    const text = readIfExists(`${directory()}/${name}`);
    // It has just been carried out.
    if (text === undefined) return [];
    const read = v.safeParse(pendingDeletion, JSON.parse(text));
    if (!read.success)
      throw new Error(
        `${directory()}/${name} is no pending deletion: ${read.issues[0].message}; remove the file`,
      );
    return read.output;
  });
}

/** The pending deletions that no running command holds. Removes what killed commands were writing. */
export function releasedDeletions(): PendingDeletion[] {
  if (!existsSync(directory())) return [];
  for (const name of readdirSync(directory()))
    if (isTemporary(name) && isReleased(name)) rmSync(`${directory()}/${name}`, { force: true });
  return pendingDeletions().filter((deletion) => isReleased(nameOf(deletion)));
}

/** What the other machine knows the deleted thing by: the id of a part or of a tunnel. */
export function subjectOf(deletion: PendingDeletion): string {
  return deletion.kind === 'part' ? deletion.partId : deletion.tunnel.id;
}

/** Forgets a deletion that is carried out, also for the time after a power cut. */
export function forgetDeletion(deletion: PendingDeletion): void {
  if (!existsSync(fileOf(deletion))) return;
  rmSync(fileOf(deletion), { force: true });
  syncDirectory(directory());
}

/** Starts wormhole-far.service if deletions are pending that no command holds. @throws JobError */
export async function startPendingDeletions(systemd: Systemd): Promise<void> {
  if (releasedDeletions().length > 0) await systemd.start('wormhole-far.service');
}

function nameOf(deletion: PendingDeletion): string {
  return `${deletion.kind}-${subjectOf(deletion)}`;
}

function fileOf(deletion: PendingDeletion): string {
  return `${directory()}/${nameOf(deletion)}`;
}

function names(): string[] {
  return existsSync(directory())
    ? readdirSync(directory()).filter((name) => /^(part|tunnel)-[0-9a-f]+$/.test(name))
    : [];
}

/** Whether a file exists, and no process holds it. */
function isReleased(name: string): boolean {
  let fd: number;
  try {
    fd = openSync(`${directory()}/${name}`, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  try {
    return isUnlocked(fd);
  } finally {
    closeSync(fd);
  }
}
