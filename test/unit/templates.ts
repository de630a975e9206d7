import { readFileSync } from 'node:fs';
import { runInThisContext } from 'node:vm';
import { compileTemplate } from '../../build/templates.ts';
import { template } from '../../src/state/template.ts';
import type { Template, Templates } from '../../src/units/render.ts';

/** A template of templates/*.hbs, compiled as the build compiles it. */
export function loadTemplate(name: string): Template {
  const source = readFileSync(new URL(`../../templates/${name}.hbs`, import.meta.url), 'utf8');
  return template(runInThisContext(`(${compileTemplate(source)})`));
}

/** The templates of the units of a link. */
export function linkTemplates(): Templates {
  return {
    socket: loadTemplate('link.socket'),
    service: loadTemplate('link.service'),
    run: loadTemplate('link-run.service'),
    nameSocket: loadTemplate('link-names.socket'),
    nameService: loadTemplate('link-names.service'),
  };
}
