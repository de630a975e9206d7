import type { PendingDeletion } from '../state/pending-deletions.js';
import { deletePartAt, deleteTunnelAt } from './client.js';
import { parsePeerEndpoint } from './endpoint.js';
import { Failure } from './failure.js';

/**
 * Tells another machine that it may remove what a pending deletion is about.
 *
 * @returns undefined when that machine has nothing of it any more; else why it could not be told, for people
 */
export async function requestDeletion(deletion: PendingDeletion): Promise<string | undefined> {
  const { peer, keyFile, until } = deletion;
  try {
    const machine = {
      endpoint: parsePeerEndpoint(peer),
      keyFile,
      ...(deletion.kind === 'tunnel' && { id: deletion.tunnel.machine }),
    };
    await (deletion.kind === 'part'
      ? deletePartAt(machine, deletion.partId)
      : deleteTunnelAt(machine, deletion.tunnel.id));
  } catch (error) {
    if (!(error instanceof Failure && error.code === 'not-found')) return (error as Error).message;
    if (Date.now() < until) return `machine ${peer} may still receive a request that was lost on the way`;
  }
  return undefined;
}
