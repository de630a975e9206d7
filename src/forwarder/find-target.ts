import type { Relay } from './connection.js';
import type { Log } from './log.js';
import type { Loop } from './loop.js';
import { readNameFile } from './name-file.js';
import { createNamedTargets, type NamedTargets } from './named-targets.js';
import type { Options } from './options.js';
import { createResolver, type Resolution, type Resolver, readAddressFile } from './resolver.js';
import { retarget, retargetName, setNamedTarget, setTarget } from './retarget.js';
import { RESTARTER, TARGET, type WorkerResolvers } from './workers/resolvers.js';

/** How the target of a link is found while the forwarder runs. */
export interface TargetFinder {
  readonly named: NamedTargets | undefined;
  readonly resolver: Resolver | undefined;
  readonly restarter: Resolver | undefined;
  /** Sets the target to what is known at the start. */
  setFirst(relay: Relay): void;
  /** Asks one of the two for a worker; see workers/resolvers.ts. Returns whether a request is pending. */
  refresh(which: number): boolean;
}

/** Where the target is found, and what is told of it. */
export interface TargetFinderOptions {
  readonly options: Options;
  readonly loop: Loop;
  readonly log: Log;
  /** In a worker, what has the first thread ask. */
  readonly ofWorker: WorkerResolvers | undefined;
  readonly relay: () => Relay;
  /** Called when one of the two has an answer, and the relay knows it. */
  readonly onAnswer: (which: number) => void;
}

/** Creates what finds the target that the command line tells of. */
export function createTargetFinder({
  options,
  loop,
  log,
  ofWorker,
  relay,
  onAnswer,
}: TargetFinderOptions): TargetFinder {
  const { to, toFile } = options;
  const named = options.name === undefined ? undefined : createNamedTargets(options.name);
  const read = (file: string): Resolution =>
    named ? readNameFile(file, named.name, log) : readAddressFile(file, log);
  const create: WorkerResolvers['create'] = (which, resolverOptions, resolved) =>
    ofWorker?.create(which, resolverOptions, resolved) ??
    createResolver(loop, log, resolverOptions, resolved);

  const resolver =
    toFile === undefined
      ? undefined
      : create(
          TARGET,
          {
            read: () => read(toFile),
            service: options.ask,
            subject: named ? `the addresses of ${named.name}` : 'the far side',
            unit: named ? `wormhole-names@${options.link}.socket` : 'wormhole-far.socket',
          },
          (answer) => {
            (named ? retargetName : retarget)(relay(), answer);
            onAnswer(TARGET);
          },
        );
  const restarter =
    options.restarter &&
    create(
      RESTARTER,
      {
        read: () => ({}),
        service: options.restarter,
        subject: 'the start of the target',
        unit: 'wormhole-far.socket',
      },
      () => onAnswer(RESTARTER),
    );
  return {
    named,
    resolver,
    restarter,
    setFirst(first) {
      if (toFile === undefined) setTarget(first, to);
      else if (named === undefined) setTarget(first, read(toFile).to);
      else setNamedTarget(first, read(toFile));
    },
    refresh: (which) => (which === TARGET ? resolver : restarter)?.refresh() ?? false,
  };
}
