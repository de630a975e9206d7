/** Files of the page, and what a browser is told that they are. */
export const FILES: Record<string, string> = {
  'index.html': 'text/html; charset=utf-8',
  'page.js': 'text/javascript; charset=utf-8',
  'page.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
};

/** What a URL asks for; all but `enter` take the cookie of the session. */
export type Route =
  | { kind: 'enter'; token: string }
  | { kind: 'file'; session: string; name: string }
  | { kind: 'overview'; session: string }
  | { kind: 'link'; session: string; id: string }
  | { kind: 'history'; session: string; id?: string };

/** Reads a URL: exactly the known paths, without any decoding but that of an id. Returns undefined for all others. */
export function routeOf(url: string): Route | undefined {
  const token = /^\/\?token=([A-Za-z0-9_-]{43})$/.exec(url)?.[1];
  if (token !== undefined) return { kind: 'enter', token };
  const [, session, path = ''] = /^\/([A-Za-z0-9_-]{22})\/([^?#]*)$/.exec(url) ?? [];
  if (session === undefined) return undefined;
  const name = path === '' ? 'index.html' : path;
  if (Object.hasOwn(FILES, name)) return { kind: 'file', session, name };
  if (path === 'api/overview') return { kind: 'overview', session };
  if (path === 'api/history') return { kind: 'history', session };
  const [, what, id = ''] = /^api\/(links|history)\/([A-Za-z0-9][A-Za-z0-9_.-]{0,249})$/.exec(path) ?? [];
  if (what === undefined) return undefined;
  return what === 'links' ? { kind: 'link', session, id } : { kind: 'history', session, id };
}

/** The value of our cookie in a Cookie header; '' if it has none. */
export function cookieOf(header = ''): string {
  return /(?:^|; ?)wormhole=([A-Za-z0-9_-]{43})(?:;|$)/.exec(header)?.[1] ?? '';
}
