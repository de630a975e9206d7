import { readFileSync } from 'node:fs';
import { compileTemplate } from '../../src/state/template.ts';
import type { Installation, Renderer } from '../../src/units/render.ts';

const template = (name: string) =>
  compileTemplate(readFileSync(new URL(`../../templates/${name}.hbs`, import.meta.url), 'utf8'));

/** An installation that does not exist. */
export const installation: Installation = {
  node: '/lib/node',
  cli: '/lib/cli.js',
  forwarder: '/lib/forwarder.js',
  flags: [],
  rootDirectory: '/var/lib/wormhole/root',
  files: ['/lib/node', '/lib/forwarder.js', '-/lib/optional'],
  libraries: ['/usr/lib'],
};

/** The templates of the project, on a machine that routes as machines do. */
export const renderer: Renderer = {
  installation,
  templates: {
    socket: template('link.socket'),
    service: template('link.service'),
    run: template('link-run.service'),
  },
  routing: { routesLoopback: false },
};

/** The template of a tunnel. */
export const tunnelTemplate = template('tunnel.service');
