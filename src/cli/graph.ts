import { type Command, Option } from 'commander';
import { UsageError } from './fail.js';
import { readListings } from './listings.js';

const FORMATS = ['mermaid', 'dot', 'svg'] as const;
type Format = (typeof FORMATS)[number];

const HELP = `
mermaid is what GitHub and other sites draw, dot is for Graphviz, and svg is a drawing. With -H, several times if need be,
the links of other machines are drawn; a link that leads to a machine ends at its part there if -H names that machine as the
recipe does.`;

export function addGraph(program: Command): void {
  program
    .command('graph')
    .description('print the links of one or more machines as a graph')
    .addOption(
      new Option('--format <format>', 'how to draw them')
        .choices(FORMATS)
        .argParser(readFormat)
        .default('mermaid' satisfies Format),
    )
    .addHelpText('after', HELP)
    .action(async ({ format }: { format: Format }, command: Command) => {
      const { listings } = await readListings(command);
      const { buildGraph } = await import('../links/graph-model.js');
      const graph = buildGraph(listings.map(({ machine, listing }) => ({ machine, links: listing.links })));
      process.stdout.write(await draw(format, graph));
    });
}

function readFormat(text: string): Format {
  const format = FORMATS.find((known) => known === text);
  if (format === undefined) throw new UsageError(`--format "${text}" is none of ${FORMATS.join(', ')}`);
  return format;
}

async function draw(
  format: Format,
  graph: Parameters<typeof import('./graph-svg.js')['svgOf']>[0],
): Promise<string> {
  if (format === 'svg') {
    const { svgOf } = await import('./graph-svg.js');
    return svgOf(graph);
  }
  const { dotOf, mermaidOf } = await import('./graph-text.js');
  return format === 'dot' ? dotOf(graph) : mermaidOf(graph);
}
