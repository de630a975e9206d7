import type { ContainerInspectInfo } from 'dockerode';
import { engine, explainContainer, statusOf } from './engine.js';

/** What an image's HEALTHCHECK says of a container; `none` when there is no check. */
export type Health = 'none' | 'starting' | 'healthy' | 'unhealthy';

/** What a container is doing. */
export interface ContainerState {
  id: string;
  name: string;
  /** The engine's word: created, running, paused, restarting, exited, removing, dead. */
  status: string;
  /** Whether it has a process; one that the engine is about to restart has none. */
  running: boolean;
  /** Its first process, in the eyes of the host; 0 when there is none. */
  pid: number;
  /** Of its last run; 0 while it runs, and before the first. */
  exitCode: number;
  /** Whether its last run ended because there was no memory left for it. */
  outOfMemory: boolean;
  /** What the engine could not do for it, or ''. */
  error: string;
  /** Of its last run, in ms since 1970; absent before the first. */
  startedAt?: number;
  /** In ms since 1970; absent before it has ended for the first time. */
  finishedAt?: number;
  health: Health;
  /** What the last check of its health printed, or ''. */
  healthOutput: string;
}

/**
 * Asks what a container does.
 *
 * @param reference its name or id
 * @returns undefined when there is no such container
 * @throws EngineDown, NoSuchContainer for the beginning of more than one id, or the engine's own error
 */
export async function containerState(reference: string): Promise<ContainerState | undefined> {
  try {
    return asState(await (await engine()).getContainer(reference).inspect());
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw explainContainer(error, reference);
  }
}

function asState({ Id, Name, State }: ContainerInspectInfo): ContainerState {
  const startedAt = time(State.StartedAt);
  const finishedAt = time(State.FinishedAt);
  return {
    id: Id,
    name: Name.replace(/^\//, ''),
    status: State.Status,
    running: State.Running && State.Pid > 0,
    pid: State.Pid,
    exitCode: State.ExitCode,
    outOfMemory: State.OOMKilled,
    error: State.Error,
    ...(startedAt !== undefined && { startedAt }),
    ...(finishedAt !== undefined && { finishedAt }),
    health: (State.Health?.Status ?? 'none') as Health,
    healthOutput: State.Health?.Log?.at(-1)?.Output.trim() ?? '',
  };
}

// The engine writes the year 1 for never.
function time(text: string): number | undefined {
  return text.startsWith('0001-') ? undefined : Date.parse(text);
}
