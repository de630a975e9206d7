import type { Address } from '../address.js';
import type { Candidate } from './pick.js';

/** A tail as the command line of the front forwarder has it. */
export interface TailOption {
  /** As `wormhole drain` has it. */
  readonly name: string;
  readonly weight: number;
  /** Where its forwarder takes clients over. */
  readonly address: Address;
  /** How long it may take to accept or refuse a client, ms. */
  readonly timeout: number;
  /** Whether it is started by the first client. */
  readonly isOnDemand: boolean;
}

/** The first pause after a failure, ms. Each further failure doubles it. */
const FIRST_PAUSE_MS = 500;

/**
 * The longest pauses, ms. A tail that refuses does so at once, and a client that is offered to it notices nothing; one that does
 * not answer costs a client seconds.
 */
const LAST_PAUSE_MS = 5000;
const LAST_SILENT_PAUSE_MS = 30_000;

/** What the front forwarder knows of a tail. */
export interface TailState extends Candidate {
  readonly option: TailOption;
  load: number;
  isAsleep: boolean;
  /** Failures in a row. */
  failures: number;
  /** Until when it gets no client, ms, on the clock of the loop. Then it gets one, and further ones when it has accepted that. */
  pausedUntil: number;
  isProbed: boolean;
  /** Whether an active check has found that it does not accept. */
  isDown: boolean;
}

/** A tail of which nothing is known yet. */
export function createTailState(option: TailOption): TailState {
  return {
    option,
    name: option.name,
    weight: option.weight,
    load: 0,
    isAsleep: option.isOnDemand,
    pickedAt: 0,
    credit: 0,
    failures: 0,
    pausedUntil: 0,
    isProbed: false,
    isDown: false,
  };
}

/** Whether a client may be offered to a tail that others could serve. */
export function isAvailable({ failures, pausedUntil, isProbed, isDown }: TailState, now: number): boolean {
  if (isDown) return false;
  return failures === 0 || (now >= pausedUntil && !isProbed);
}

/** Notes that a tail has accepted a client. */
export function noteAccepted(state: TailState): void {
  state.failures = 0;
  state.isProbed = false;
  state.isDown = false;
}

/**
 * Notes that a tail has not accepted a client, at the time `now`. One that has answered before is given a shorter pause than
 * one that is silent. Clients that were offered to it before the pause began do not prolong it.
 */
export function noteFailed(state: TailState, now: number, isSilent: boolean): void {
  const isNew = state.failures === 0 || state.isProbed || now >= state.pausedUntil;
  state.isProbed = false;
  if (!isNew) return;
  state.failures += 1;
  const longest = isSilent ? LAST_SILENT_PAUSE_MS : LAST_PAUSE_MS;
  state.pausedUntil = now + Math.min(longest, FIRST_PAUSE_MS * 2 ** Math.min(state.failures - 1, 16));
}
