import type { Installation, Renderer } from '../../src/units/render.ts';
import { linkTemplates, loadTemplate } from './templates.ts';

/** An installation that does not exist. */
export const installation: Installation = {
  node: '/lib/node',
  cli: '/lib/cli.js',
  forwarder: '/lib/forwarder.js',
  flags: [],
  rootDirectory: '/var/lib/wormhole/root',
  files: ['/lib/node', '/lib/forwarder.js'],
  libraries: ['/usr/lib'],
};

/** The templates of the project, on a machine that routes as machines do, with the systemd of Debian 12. */
export const renderer: Renderer = {
  installation,
  templates: linkTemplates(),
  routing: { routesLoopback: false },
  systemd: 252,
};

/** The template of a tunnel. */
export const tunnelTemplate = loadTemplate('tunnel.service');
