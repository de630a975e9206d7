import { createRequire } from 'node:module';
import type { Plugin } from 'esbuild';

const require = createRequire(import.meta.url);

/** The native addon of koffi for this machine's architecture and C library: the file that koffi itself loads. */
export function addonPath(): string {
  require('koffi');
  const path = Object.keys(require.cache).find((file) => file.endsWith('/koffi.node'));
  if (path === undefined)
    throw new Error('koffi has loaded no koffi.node: remove node_modules, and run npm ci');
  return path;
}

/**
 * Has programs load koffi.node from their own directory, when they first use it. That is all of koffi they need; finding out
 * which of its files suits the machine takes longer than loading it.
 */
export const koffiAddon: Plugin = {
  name: 'koffi',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^koffi$/ }, () => ({ path: 'koffi', namespace: 'koffi' }));
    onLoad({ filter: /.*/, namespace: 'koffi' }, () => ({
      contents: "module.exports = new Proxy({}, { get: (_, name) => require('./koffi.node')[name] });",
    }));
    onResolve({ filter: /^\.\/koffi\.node$/, namespace: 'koffi' }, ({ path }) => ({ path, external: true }));
  },
};
