import * as v from 'valibot';
import { quoted } from '../text/quote.js';
import { Failure } from './failure.js';

const OBJECT = 'must be a JSON object';

/** A JSON object with exactly these fields. */
export function strictObject<T extends v.ObjectEntries>(entries: T) {
  // valibot takes an array for an object.
  return v.pipe(v.custom<Record<string, unknown>>(isObject, OBJECT), v.strictObject(entries, OBJECT));
}

/**
 * Checks a JSON value from another program against a schema. The messages of the schema complete `"field" …`, such as `must
 * be true or false`.
 *
 * @param what the value as a whole, for the message, such as `the body`
 * @throws Failure with code usage, which names the first field that is wrong
 */
export function check<T extends v.GenericSchema>(schema: T, value: unknown, what: string): v.InferOutput<T> {
  const result = v.safeParse(schema, value);
  // valibot takes an own field of this name for the inherited one.
  if (result.success && hasProto(value)) throw unknownField(what, '__proto__');
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = (issue.path ?? []).map(({ key }) => String(key));
  if (/object$/.test(issue.type) && issue.received === 'undefined' && path.length > 0)
    throw invalid(`"${path.join('.')}" is missing`);
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    const field = path.pop() ?? '';
    throw unknownField(path.length === 0 ? what : `"${path.join('.')}"`, field);
  }
  // In a list, the field as a whole is wrong.
  while (path.length > 1 && /^[0-9]+$/.test(path.at(-1) ?? '')) path.pop();
  throw invalid(`${path.length === 0 ? what : `"${path.join('.')}"`} ${issue.message}`);
}

/**
 * Checks what a machine has answered against a schema.
 *
 * @throws Failure with code failed, which names the first field that is wrong
 */
export function checkAnswer<T extends v.GenericSchema>(schema: T, answer: unknown): v.InferOutput<T> {
  try {
    return check(schema, answer, 'it');
  } catch (error) {
    throw new Failure('failed', `the answer makes no sense: ${(error as Error).message}`);
  }
}

/** A request that makes no sense. */
export function invalid(message: string): Failure {
  return new Failure('usage', message);
}

function unknownField(where: string, field: string): Failure {
  return invalid(`${where} has a field ${quoted(field)}, which is unknown here`);
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function hasProto(value: unknown): boolean {
  return isObject(value) && Object.hasOwn(value as object, '__proto__');
}
