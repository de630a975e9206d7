import type { IncomingMessage } from 'node:http';
import { Failure } from '../api/failure.js';
import { MAX_BODY } from '../api/schema.js';

/**
 * Reads the JSON body of a request.
 *
 * @throws Failure when it is longer than {@link MAX_BODY}, is no JSON, or breaks off
 */
export async function readBody(request: IncomingMessage): Promise<unknown> {
  const tooLong = () => new Failure('usage', `the body is longer than ${MAX_BODY} bytes`, 413);
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY) throw tooLong();
  const text = await new Promise<string>((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_BODY) chunks.push(chunk);
      else reject(tooLong());
    });
    request.on('end', () => resolve(Buffer.concat(chunks).toString()));
    request.on('error', () => reject(new Failure('usage', 'the body broke off')));
  });
  try {
    return JSON.parse(text);
  } catch {
    throw new Failure('usage', 'the body is not JSON');
  }
}

/** Whether a request announces a body at all (RFC 9112, 6.3). */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
