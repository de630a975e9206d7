import type { ResolveHook } from 'node:module';

const own = new URL('./uvu.ts', import.meta.url).href;

/** Finds ./uvu.ts where `uvu` is imported, except there. */
export const resolve: ResolveHook = (specifier, context, next) =>
  specifier === 'uvu' && context.parentURL?.split('?')[0] !== own
    ? next(own, context)
    : next(specifier, context);
