import { quoted } from '../../recipe/error.js';
import { Failure } from './failure.js';

/**
 * The fields of a JSON object.
 *
 * @param what calls the object for the message, such as `the body`
 * @throws Failure with code usage when it is none, or has fields that are not `known`
 */
export function fields(value: unknown, what: string, known: string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong(`${what} must be a JSON object`);
  const unknown = Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined) throw wrong(`${what} has a field ${quoted(unknown)}, which means nothing here`);
  return value as Record<string, unknown>;
}

/** A request that makes no sense. */
export function wrong(message: string): Failure {
  return new Failure('usage', message);
}
