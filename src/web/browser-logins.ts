import { randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { digestOf, randomSecret } from './secrets.js';

/** How long a browser that has used a token may look, ms. */
export const LOGIN_MS = 12 * 3_600_000;

/** The most browsers that may look; a further one replaces the oldest. */
const MOST = 32;

const saved = v.array(
  v.object({
    id: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{22}$/)),
    digest: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
    until: v.number(),
  }),
);
type Login = v.InferOutput<typeof saved>[number];

/** A login as its browser knows it. `id` is in the path of the page, `secret` in a cookie for that path. */
export interface NewLogin {
  id: string;
  secret: string;
}

/** Browsers that may look. */
export interface BrowserLogins {
  open(): NewLogin;
  /** Whether the cookie is that of the login. */
  isOpen(id: string, secret: string): boolean;
  /** As text, for {@link readLogins}; it has no secret. */
  save(): string;
}

/**
 * Returns the logins, with those of an earlier process.
 *
 * Browsers do not tell cookies of one port from those of another (RFC 6265, 8.5): a server of some user on another port of this machine
 * would be sent ours. So a cookie is for a path that no one else can guess.
 *
 * @param now the time in ms since 1970
 * @param text what `save` has returned; anything else opens no login
 */
export function readLogins(now: () => number, text = '[]'): BrowserLogins {
  const logins = new Map<string, Login>(parse(text).map((login) => [login.id, login]));
  const forget = () => {
    for (const { id, until } of logins.values()) if (until <= now()) logins.delete(id);
  };
  return {
    open() {
      forget();
      const [oldest] = logins.keys();
      if (logins.size >= MOST && oldest !== undefined) logins.delete(oldest);
      const [id, secret] = [randomBytes(16).toString('base64url'), randomSecret()];
      logins.set(id, { id, digest: digestOf(secret), until: now() + LOGIN_MS });
      return { id, secret };
    },
    isOpen(id, secret) {
      forget();
      return logins.get(id)?.digest === digestOf(secret);
    },
    save() {
      forget();
      return JSON.stringify([...logins.values()]);
    },
  };
}

function parse(text: string): Login[] {
  try {
    const read = v.safeParse(saved, JSON.parse(text));
    return read.success ? read.output : [];
  } catch {
    return [];
  }
}
