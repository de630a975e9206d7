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
 * @param position its place among the arguments, for the message, which does not quote it
 * @throws RunArgumentError when it cannot
 */
export function checkImageReference(image: string, position: number): void {
  if (image.length <= 400 && reference.test(image)) return;
  const hint = image !== image.toLowerCase() ? '; names of images are in lower case' : '';
  throw new RunArgumentError(
    `word ${position} of its arguments cannot be the name of an image, which comes after the options${hint}`,
  );
}

/** What the engine knows an image by. */
export interface ImageNames {
  Id: string;
  RepoTags?: string[] | null;
  RepoDigests?: string[] | null;
}

/**
 * Whether an image is the one that `reference` names: by its whole id, or by one of its names with tag or digest. To the
 * engine itself, a name that no image has is the beginning of an id.
 */
export function isImageOf(reference: string, { Id, RepoTags, RepoDigests }: ImageNames): boolean {
  const name = fullName(reference);
  const isNamed = [...(RepoTags ?? []), ...(RepoDigests ?? [])].some((other) => fullName(other) === name);
  return isNamed || bareId(reference) === bareId(Id);
}

/** A reference with all that it leaves out, as github.com/distribution/reference completes it: `docker.io/library/nginx:latest`. */
function fullName(reference: string): string {
  const [, first = '', rest = ''] = /^([^/]*)\/(.*)$/.exec(reference) ?? [];
  const hasDomain = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  const registry = hasDomain ? first.replace(/^index\.docker\.io$/, 'docker.io') : 'docker.io';
  const path = hasDomain ? rest : reference;
  const name = registry === 'docker.io' && !path.includes('/') ? `library/${path}` : path;
  const [beforeDigest = '', digest] = name.split('@');
  // With a digest, the tag says nothing.
  if (digest !== undefined) return `${registry}/${beforeDigest.replace(/:[^/]*$/, '')}@${digest}`;
  return `${registry}/${/:[^/]*$/.test(name) ? name : `${name}:latest`}`;
}

function bareId(id: string): string {
  return id.replace(/^sha256:/, '');
}
