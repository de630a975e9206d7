/**
 * Makes of a slow reading one that many may ask for: they get the same, while it is read and for `ms` afterwards. One that fails is not kept.
 */
export function cached<T>(ms: number, read: () => Promise<T>): () => Promise<T> {
  let latest: { at: number; value: Promise<T> } | undefined;
  return () => {
    if (latest && performance.now() - latest.at < ms) return latest.value;
    const own = { at: Number.POSITIVE_INFINITY, value: read() };
    latest = own;
    own.value.then(
      () => {
        own.at = performance.now();
      },
      () => {
        if (latest === own) latest = undefined;
      },
    );
    return own.value;
  };
}
