import { Failure } from '../api/failure.js';
import { Taken } from '../links/complete.js';
import { RecipeError } from '../recipe/error.js';

/** What a request that threw `error` is answered with. */
export function failureOf(error: unknown): Failure {
  if (error instanceof Failure) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof RecipeError) return new Failure('usage', message);
  if (error instanceof Taken) return new Failure('taken', message);
  return new Failure('failed', message);
}
