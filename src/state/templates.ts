import service from '../../templates/link.service.hbs';
import socket from '../../templates/link.socket.hbs';
import nameService from '../../templates/link-names.service.hbs';
import nameSocket from '../../templates/link-names.socket.hbs';
import run from '../../templates/link-run.service.hbs';
import tunnel from '../../templates/tunnel.service.hbs';
import type { Templates } from '../units/render.js';
import { template } from './template.js';

/** The templates of the units of a link. */
export const linkTemplates: Templates = {
  socket: template(socket),
  service: template(service),
  run: template(run),
  nameSocket: template(nameSocket),
  nameService: template(nameService),
};

/** The template of a tunnel's unit. */
export const tunnelTemplate = template(tunnel);
