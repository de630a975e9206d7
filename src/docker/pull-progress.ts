/** How far a pull is. Layers that the engine has already count as done, and for no bytes. */
export interface PullProgress {
  layers: Count;
  /** The bytes of the layers whose size is known so far. */
  bytes: Count;
  /** One line, such as `pulling wormhole/mysql: 3 of 7 layers, 45 of 120 MB`. */
  text: string;
}

/** So much of so much. */
export interface Count {
  done: number;
  total: number;
}

/** What the engine says while it pulls: one thing about one layer, or about the image as a whole. */
export interface PullEvent {
  status?: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
}

interface Layer {
  done: boolean;
  loaded: number;
  size: number;
}

/** Makes a function that is told all events of a pull, in order, and says how far it is after each. */
export function pullMeter(image: string): (event: PullEvent) => PullProgress {
  const layers = new Map<string, Layer>();
  return (event) => {
    const { id, status = '' } = event;
    // For the image as a whole, there is "Pulling from library/nginx", with its tag for an id.
    if (id !== undefined && (layers.has(id) || /^(Pulling fs layer|Already exists|Waiting)/.test(status))) {
      layers.set(id, advanced(layers.get(id) ?? { done: false, loaded: 0, size: 0 }, event));
    }
    return sum(image, [...layers.values()]);
  };
}

function advanced(layer: Layer, { status, progressDetail }: PullEvent): Layer {
  switch (status) {
    case 'Downloading': {
      const { current = 0, total = 0 } = progressDetail ?? {};
      return { ...layer, loaded: current, size: Math.max(total, current) };
    }
    case 'Download complete':
      return { ...layer, loaded: layer.size };
    case 'Already exists':
    case 'Pull complete':
      return { ...layer, loaded: layer.size, done: true };
    default:
      return layer;
  }
}

function sum(image: string, all: Layer[]): PullProgress {
  const layers = { done: all.filter(({ done }) => done).length, total: all.length };
  const bytes = {
    done: all.reduce((sum, { loaded }) => sum + loaded, 0),
    total: all.reduce((sum, { size }) => sum + size, 0),
  };
  const parts = [
    ...(layers.total > 0 ? [`${layers.done} of ${layers.total} layers`] : []),
    ...(bytes.total > 0 ? [megabytes(bytes)] : []),
  ];
  return { layers, bytes, text: `pulling ${image}${parts.length > 0 ? `: ${parts.join(', ')}` : ''}` };
}

function megabytes({ done, total }: Count): string {
  const digits = total < 10e6 ? 1 : 0;
  return `${(done / 1e6).toFixed(digits)} of ${(total / 1e6).toFixed(digits)} MB`;
}
