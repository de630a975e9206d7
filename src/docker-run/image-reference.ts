import { quoted } from '../text/quote.js';
import { RunArgumentError } from './request.js';

// The grammar of github.com/distribution/reference, which the engine reads names of images with.
const component = '[a-z0-9]+(?:(?:[.]|_{1,2}|-+)[a-z0-9]+)*';
const domain = '(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9a-fA-F:]+\\])(?::[0-9]+)?';
const tag = ':[\\w][\\w.-]{0,127}';
const digest = '@[A-Za-z][A-Za-z0-9+._-]*:[0-9a-fA-F]{32,}';
const reference = new RegExp(`^(?:${domain}/)?${component}(?:/${component})*(?:${tag})?(?:${digest})?$`);

/**
 * Says nothing when `image` can be the name of an image: `nginx`, `host:5000/team/app:tag`, `app@sha256:…`.
 *
 * @throws RunArgumentError when it cannot
 */
export function checkImageReference(image: string): void {
  if (image.length <= 400 && reference.test(image)) return;
  const hint = image !== image.toLowerCase() ? '; names of images are in lower case' : '';
  throw new RunArgumentError(`${quoted(image)} cannot be the name of an image${hint}`);
}
