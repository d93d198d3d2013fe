// The graph of needs: what has to be completed before what, from left to right.
import { html, useMemo } from "../ui.js";
import { counted, tone } from "../format.js";
import { taskWithId } from "../live.js";
import { go, href } from "../router.js";

const WIDTH = 220;
const HEIGHT = 56;
const GAP_X = 70;
const GAP_Y = 18;
const AT_MOST = 400;

/** Tasks that need another or are needed, with the rank (longest chain of needs) and the row of each. Pure. */
export function layout(tasks, find = () => undefined) {
  const known = new Map(tasks.map((task) => [task.id, task]));
  for (const task of tasks) for (const id of task.needs) if (!known.has(id) && find(id)) known.set(id, find(id));
  const needed = new Set([...known.values()].flatMap((task) => task.needs));
  const linked = [...known.values()].filter((task) => needed.has(task.id) || task.needs.some((id) => known.has(id))).slice(0, AT_MOST);
  const inside = new Map(linked.map((task) => [task.id, task]));
  const ranks = new Map();
  const rank = (id, above) => {
    if (ranks.has(id)) return ranks.get(id);
    if (above.has(id)) return 0; // the town refuses cycles; a half-read one must not hang the page
    above.add(id);
    const below = inside.get(id).needs.filter((need) => inside.has(need));
    const value = below.length ? 1 + Math.max(...below.map((need) => rank(need, above))) : 0;
    above.delete(id);
    ranks.set(id, value);
    return value;
  };
  for (const id of inside.keys()) rank(id, new Set());
  // A need that is more than one rank away goes through a free place in each rank between, and so around other tasks.
  const columns = [];
  const put = (id, index, above, task) => (columns[index] ??= []).push({ id, above, task });
  const lines = [];
  const passing = new Set();
  for (const task of linked) {
    const own = task.needs.filter((id) => inside.has(id) && ranks.get(id) < ranks.get(task.id));
    const last = own.map((id) => {
      const places = [id];
      for (let index = ranks.get(id) + 1; index < ranks.get(task.id); index++) {
        const place = `${id}@${index}`; // lines of one task share it
        if (!passing.has(place)) put(place, index, [places.at(-1)], null);
        passing.add(place);
        places.push(place);
      }
      lines.push([...places, task.id]);
      return places.at(-1);
    });
    put(task.id, ranks.get(task.id), last, task);
  }
  const rows = new Map();
  columns.forEach((column, index) => {
    if (index) {
      // Near those that it needs, so that lines are short.
      const middle = ({ above }) => (above.length ? above.reduce((sum, id) => sum + rows.get(id), 0) / above.length : 0);
      column.sort((one, other) => middle(one) - middle(other));
    }
    column.forEach(({ id }, row) => rows.set(id, row));
  });
  const at = new Map(columns.flatMap((column, index) => column.map(({ id, task }, row) => [id, { task, x: index * (WIDTH + GAP_X), y: row * (HEIGHT + GAP_Y) }])));
  return {
    nodes: [...at.values()].filter((place) => place.task),
    lines: lines.map((places) => places.map((id) => at.get(id))),
    width: Math.max(0, columns.length * (WIDTH + GAP_X) - GAP_X),
    height: Math.max(0, ...columns.map((column) => column.length * (HEIGHT + GAP_Y) - GAP_Y)),
    left: known.size - linked.length,
  };
}

export function Graph({ tasks }) {
  const shown = useMemo(() => layout(tasks, taskWithId), [tasks]);
  if (!shown.nodes.length) return html`<p class="quiet graph-empty">No task here needs another one.</p>`;
  return html`<div class="graph" tabindex="0" role="group" aria-label=${`Graph of ${shown.nodes.length} tasks and what they need`}>
    <svg width=${shown.width + 40} height=${shown.height + 40} viewBox=${`-20 -20 ${shown.width + 40} ${shown.height + 40}`}>
      <defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" /></marker></defs>
      ${shown.lines.map((line) => html`<path key=${`${line[0].task.id} ${line.at(-1).task.id}`} class=${`edge ${line[0].task.state === "completed" ? "is-met" : ""}`} d=${curve(line)} marker-end="url(#arrow)" />`)}
      ${shown.nodes.map((node) => html`<${Node} key=${node.task.id} node=${node} />`)}
    </svg></div>
    ${shown.left ? html`<p class="quiet graph-left">${counted(shown.left, "more task")} without dependencies: see the columns.</p>` : null}`;
}

/** A line from place to place: curves between the ranks, straight through the free places in them. */
function curve(places) {
  const middle = ({ y }) => y + HEIGHT / 2;
  return places.slice(1).reduce((path, place, index) => {
    const [x1, y1] = [places[index].x + WIDTH, middle(places[index])];
    const [x2, y2] = [place.task ? place.x - 4 : place.x, middle(place)];
    const bend = (x2 - x1) / 2;
    return `${path}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}${place.task ? "" : `h${WIDTH}`}`;
  }, `M${places[0].x + WIDTH} ${middle(places[0])}`);
}

function Node({ node: { task, x, y } }) {
  const place = { view: "task", id: task.id };
  return html`<a href=${href(place)} class=${`node tone-${tone(task.state)}`} transform=${`translate(${x} ${y})`}
      onClick=${(event) => { if (event.metaKey || event.ctrlKey) return; event.preventDefault(); go(place); }}>
    <title>${task.title} (${task.state})</title>
    <rect width=${WIDTH} height=${HEIGHT} rx="10" /><rect class="node-edge" width="4" height=${HEIGHT - 20} x="8" y="10" rx="2" />
    <foreignObject x="22" y="8" width=${WIDTH - 32} height=${HEIGHT - 12}><div class="node-text">
      <strong>${task.title || "Untitled"}</strong><span>${task.state}${task.agent ? ` · ${task.agent}` : ""}</span></div></foreignObject>
  </a>`;
}
