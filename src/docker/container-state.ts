import type { ContainerInspectInfo } from 'dockerode';
import { inspectByName, nameOf } from './container.js';

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
  /** The exit code of its last run; 0 while it runs, and before the first. */
  exitCode: number;
  /** Whether its last run ended because there was no memory left for it. */
  outOfMemory: boolean;
  /** What the engine could not do for it, or ''. */
  error: string;
  /** When its last run began, in ms since 1970; absent before the first. */
  startedAt?: number;
  /** When its last run ended, in ms since 1970; absent before it has ended for the first time. */
  finishedAt?: number;
  health: Health;
  /** What the last check of its health printed, or ''. */
  healthOutput: string;
}

/**
 * Asks what the container of exactly this name does.
 *
 * @returns undefined when there is none
 * @throws EngineDown, or the engine's own error
 */
export async function containerState(name: string): Promise<ContainerState | undefined> {
  const found = await inspectByName(name);
  return found && asState(found);
}

/** What a container does, from all that the engine knows of it. */
export function asState(found: ContainerInspectInfo): ContainerState {
  const { Id, State } = found;
  const startedAt = time(State.StartedAt);
  const finishedAt = time(State.FinishedAt);
  return {
    id: Id,
    name: nameOf(found),
    status: State.Status,
    running: State.Running && State.Pid > 0,
    pid: State.Pid,
    exitCode: State.ExitCode,
    outOfMemory: State.OOMKilled,
    error: State.Error,
    ...(startedAt !== undefined && { startedAt }),
    ...(finishedAt !== undefined && { finishedAt }),
    // Podman says '' where there is no check.
    health: (State.Health?.Status || 'none') as Health,
    healthOutput: State.Health?.Log?.at(-1)?.Output.trim() ?? '',
  };
}

// The engine writes the year 1 for never.
function time(text: string): number | undefined {
  return text.startsWith('0001-') ? undefined : Date.parse(text);
}
