// The graph of needs: what has to be completed before what, from left to right.
import { html, useMemo } from "../ui.js";
import { tone } from "../format.js";
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
  const columns = [];
  for (const task of linked) (columns[ranks.get(task.id)] ??= []).push(task);
  const rows = new Map();
  columns.forEach((column, index) => {
    if (index) {
      // Near those that it needs, so that lines are short.
      const middle = (task) => {
        const above = task.needs.filter((id) => rows.has(id)).map((id) => rows.get(id));
        return above.length ? above.reduce((sum, row) => sum + row, 0) / above.length : 0;
      };
      column.sort((a, b) => middle(a) - middle(b));
    }
    column.forEach((task, row) => rows.set(task.id, row));
  });
  const nodes = linked.map((task) => ({ task, x: ranks.get(task.id) * (WIDTH + GAP_X), y: rows.get(task.id) * (HEIGHT + GAP_Y) }));
  const at = new Map(nodes.map((node) => [node.task.id, node]));
  const lines = linked.flatMap((task) => task.needs.filter((id) => at.has(id)).map((id) => ({ from: at.get(id), to: at.get(task.id) })));
  return {
    nodes,
    lines,
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
      ${shown.lines.map((line) => html`<path key=${`${line.from.task.id} ${line.to.task.id}`} class=${`edge ${line.from.task.state === "completed" ? "is-met" : ""}`} d=${curve(line)} marker-end="url(#arrow)" />`)}
      ${shown.nodes.map((node) => html`<${Node} key=${node.task.id} node=${node} />`)}
    </svg></div>`;
}

function curve({ from, to }) {
  const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x - 4, to.y + HEIGHT / 2];
  const bend = Math.max(30, (x2 - x1) / 2);
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

function Node({ node: { task, x, y } }) {
  const place = { view: "task", id: task.id };
  return html`<a href=${href(place)} class=${`node tone-${tone(task.state)}`} transform=${`translate(${x} ${y})`}
      onClick=${(event) => { if (event.metaKey || event.ctrlKey) return; event.preventDefault(); go(place); }}>
    <title>${task.title} (${task.state})</title>
    <rect width=${WIDTH} height=${HEIGHT} rx="10" /><rect class="node-edge" width="4" height=${HEIGHT - 20} x="8" y="10" rx="2" />
    <text x="22" y="24" class="node-title">${cut(task.title, 26)}</text>
    <text x="22" y="42" class="node-state">${task.state}${task.agent ? ` · ${cut(task.agent, 16)}` : ""}</text>
  </a>`;
}

function cut(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
