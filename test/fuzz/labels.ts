import { formatRecipe } from '../../src/recipe/format.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import { isUnix, splitEnd } from '../../src/recipe/recipe.ts';
import { RefusedLabel, readLabel } from '../../src/units/label.ts';
import { DEFAULT_POLICY } from '../../src/units/labels-config.ts';
import { orRefused, requireSame, type Target } from './target.ts';

/** What those say who may start a container. */
export const labelTargets: Record<string, Target> = {
  /** A label, KEY=VALUE: it never asks for more than links between containers, and ports of this host that its policy permits. */
  label: {
    longest: 1100,
    run(input) {
      const [, key = '', value = ''] = /^([^=]*)=?(.*)$/s.exec(input.toString('utf8')) ?? [];
      const context = { container: 'app', policy: DEFAULT_POLICY, resolve: (name: string) => name };
      const link = orRefused(
        () => readLabel({ key, value }, context),
        (error) => error instanceof RefusedLabel,
      );
      if (link === undefined) return false;
      const { recipe } = link;
      const isExpose = key.startsWith('wormhole.expose.');
      for (const { place } of splitEnd(recipe.head))
        if (place.kind !== (isExpose ? 'host' : 'container')) throw new Error(`a head in a ${place.kind}`);
      for (const { tail, child, trigger } of recipe.tails ?? [recipe]) {
        if (!tail || child || trigger) throw new Error('a tail that is more than a container');
        for (const end of splitEnd(tail)) {
          if (end.place.kind !== 'container') throw new Error(`a tail in a ${end.place.kind}`);
          if (isExpose && end.place.name !== 'app') throw new Error(`a tail in ${end.place.name}`);
        }
      }
      for (const end of splitEnd(recipe.head))
        if (isExpose && (isUnix(end) || (end.port ?? 0) < 1024))
          throw new Error('a port that is not permitted');
      requireSame(recipe, parseRecipe(formatRecipe(recipe)), 'its words');
      return true;
    },
    words: [
      ...[
        'wormhole.link.',
        'wormhole.expose.',
        '=',
        'url ',
        ':3306',
        ' tail ',
        ' docker-ns ',
        ' or ',
        ' weight ',
      ],
      ...[
        '0.0.0.0:8080',
        '[::1]:1',
        'udp://',
        'unix:///run/x',
        'trigger ',
        'remote ',
        'id ',
        'blue@',
        '"',
        "'",
      ],
      ...['\\', '%', '/app', '::ffff:127.0.0.1'],
    ],
    examples: [
      'wormhole.link.db=url :3306 tail docker-ns mysql',
      'wormhole.link.x=url 0.0.0.0:80 tail url [::1]:8080 docker-ns a weight 2 or docker-ns b',
      'wormhole.expose.web=url [::1]:8080 tail url :80',
    ],
    refused: 'wormhole.link.db=url :3306 tail url :3306',
  },
};
