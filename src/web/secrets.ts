import { createHash, randomBytes } from 'node:crypto';

/** A random text of 256 bits for URLs and cookies. */
export function randomSecret(): string {
  return randomBytes(32).toString('base64url');
}

/** What is kept of a secret: nobody who reads it learns the secret, and no comparison of digests tells how much of one is right. */
export function digestOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}
