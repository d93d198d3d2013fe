// All tasks by their state, or as the graph of what needs what. Filters live in the address.
import { html, cx, memo, useEffect, useState } from "../ui.js";
import { api, decide } from "../actions.js";
import { loadTasks, useLive } from "../live.js";
import { Ago, Avatar, Empty, Icon, Link, Problem, attempt, open, useMore, useTitle } from "../parts.js";
import { filter, usePlace } from "../router.js";
import { Graph } from "./graph.js";

const COLUMNS = [
  { key: "pending", title: "Backlog", states: ["pending"], hint: "No unassigned tasks." },
  { key: "blocked", title: "Blocked", states: ["blocked"], hint: "No blocked tasks." },
  { key: "assigned", title: "Assigned", states: ["assigned"], hint: "No waiting tasks." },
  { key: "running", title: "Running", states: ["running"], hint: "No running tasks." },
  { key: "verifying", title: "Checking", states: ["verifying"], hint: "", seldom: true },
  { key: "done", title: "Done", states: ["completed"], hint: "No completed tasks yet." },
  { key: "ended", title: "Failed", states: ["failed", "cancelled"], hint: "No failed tasks." },
];
const STEP = 40; // cards that are drawn at once; more as one scrolls
const WEIGHT = { urgent: 0, high: 1, normal: 2, low: 3 };

export function Board() {
  useTitle("Board");
  const loaded = useLive((live) => live.tasksLoaded);
  const connection = useLive((live) => live.connection);
  const tasks = useLive((live) => live.tasks);
  const [error, setError] = useState(null);
  const { query } = usePlace();
  useEffect(() => {
    if (connection === "open" && !loaded) loadTasks().then(() => setError(null), setError);
  }, [connection, loaded]);
  if (error) return html`<div class="page"><${Problem} error=${error} /></div>`;
  if (!loaded) return html`<div class="page" aria-busy="true"></div>`;
  const shown = tasks.filter(matcher(query));
  return html`<div class="board-page">
    <header class="section-head">
      <h1>Board <span class="count">${shown.length.toLocaleString("en")}</span></h1>
      <${Filters} tasks=${tasks} query=${query} />
      <div class="segments" role="group" aria-label="View">
        <button aria-pressed=${query.as !== "graph"} onClick=${() => filter({ as: "" })}><${Icon} name="board" size="16" />Columns</button>
        <button aria-pressed=${query.as === "graph"} onClick=${() => filter({ as: "graph" })}><${Icon} name="graph" size="16" />Graph</button>
      </div>
    </header>
    ${tasks.length ? (query.as === "graph" ? html`<${Graph} tasks=${shown} />` : html`<${Columns} tasks=${shown} />`)
      : html`<${Empty} title="No tasks yet"><button class="button primary" onClick=${() => open({ kind: "task" })}>Add the first task</button><//>`}
  </div>`;
}

function matcher({ q = "", agent = "", tag = "", priority = "" }) {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  return (task) =>
    (!agent || task.agent === agent) &&
    (!tag || task.tags.includes(tag)) &&
    (!priority || task.priority === priority) &&
    words.every((word) => task.title.toLowerCase().includes(word) || task.id.startsWith(word));
}

function Filters({ tasks, query }) {
  const agents = useLive((live) => live.agents);
  const tags = [...new Set(tasks.flatMap((task) => task.tags))].sort();
  const Choice = ({ name, title, values }) => html`<label class="select"><span class="visually-hidden">${title}</span>
    <select class=${query[name] ? "is-set" : ""} value=${query[name] ?? ""} onChange=${(event) => filter({ [name]: event.target.value })}>
      <option value="">${title}</option>${values.map((value) => html`<option key=${value} value=${value}>${value}</option>`)}</select></label>`;
  return html`<div class="filters">
    <label class="field-search"><span class="visually-hidden">Find tasks</span><${Icon} name="search" size="16" />
      <input type="search" placeholder="Title or id…" value=${query.q ?? ""} onInput=${(event) => filter({ q: event.target.value })} /></label>
    ${Choice({ name: "agent", title: "Agent", values: agents.map((agent) => agent.name) })}
    ${tags.length ? Choice({ name: "tag", title: "Tag", values: tags }) : null}
    ${Choice({ name: "priority", title: "Priority", values: Object.keys(WEIGHT) })}
  </div>`;
}

function Columns({ tasks }) {
  const [dragged, setDragged] = useState(null);
  const byColumn = new Map(COLUMNS.map((column) => [column.key, []]));
  for (const task of tasks) byColumn.get(COLUMNS.find((column) => column.states.includes(task.state))?.key)?.push(task);
  return html`<div class=${cx("columns", dragged && "is-dragging")}>
    ${COLUMNS.filter((column) => !column.seldom || byColumn.get(column.key).length).map((column) => html`<${Column} key=${column.key} column=${column} tasks=${sorted(byColumn.get(column.key), column.key)} dragged=${dragged} onDrag=${setDragged} />`)}
    ${dragged ? html`<${DropAgents} task=${dragged} onDrop=${() => setDragged(null)} />` : null}
  </div>`;
}

function sorted(tasks, key) {
  const newest = (a, b) => ((b.since ?? "") > (a.since ?? "") ? 1 : -1);
  if (key === "done" || ["ended", "running", "verifying"].includes(key)) return tasks.sort(newest);
  return tasks.sort((a, b) => WEIGHT[a.priority] - WEIGHT[b.priority] || ((a.created_at ?? "") < (b.created_at ?? "") ? -1 : 1));
}

// What dropping a task on a column does, where it can do something.
const DROPS = {
  pending: (task) => task.agent && ["assigned", "running"].includes(task.state) && (() => api.requeue(task.id)),
  assigned: (task) => ["completed", "failed", "cancelled"].includes(task.state) && (() => decide.reopen(task.id)),
  done: (task) => !["completed", "failed", "cancelled"].includes(task.state) && (() => api.complete(task.id, "")),
  ended: (task) => !["completed", "failed", "cancelled"].includes(task.state) && (() => decide.cancel(task.id)),
};

function Column({ column, tasks, dragged, onDrag }) {
  const [count, more] = useMore(tasks.length, STEP);
  const drop = dragged && DROPS[column.key]?.(dragged);
  const onDrop = (event) => {
    event.preventDefault();
    onDrag(null);
    attempt(drop);
  };
  return html`<section class=${cx("column", `column-${column.key}`, drop && "takes", !tasks.length && "is-empty")} aria-labelledby=${`column-${column.key}`}
      onDragOver=${drop ? (event) => event.preventDefault() : null} onDrop=${drop ? onDrop : null}>
    <h2 id=${`column-${column.key}`}>${column.title} <span class="count">${tasks.length.toLocaleString("en")}</span></h2>
    <ul>${tasks.slice(0, count).map((task) => html`<${TaskCard} key=${task.id} task=${task} onDrag=${onDrag} />`)}<li class="more-item" aria-hidden="true">${more}</li></ul>
    ${tasks.length ? null : html`<p class="quiet">${column.hint}</p>`}
  </section>`;
}

/** What a task at the gates waits for: a person, if there is something to decide. */
function AtGates({ task }) {
  const need = useLive((live) => live.attention.find((item) => item.task === task.id && item.link));
  return html`<p class=${cx("card-note", need && "is-yours")}>${need ? "Waits for you" : "Being checked"}</p>`;
}

export const TaskCard = memo(({ task, onDrag }) => html`<li class=${cx("card task-card", `state-${task.state}`)} draggable="true"
    onDragStart=${(event) => { event.dataTransfer.setData("text/plain", task.id); setTimeout(() => onDrag?.(task)); }} onDragEnd=${() => onDrag?.(null)}>
  <${Link} to=${{ view: "task", id: task.id }} class="card-cover" draggable="false">${task.title || "Untitled"}<//>
  ${task.held ? html`<p class="card-note">On hold: ${task.held}</p>` : null}
  ${task.open_needs.length ? html`<p class="card-note">Waits for ${task.open_needs.length === 1 ? "1 task" : `${task.open_needs.length} tasks`}</p>` : null}
  ${task.state === "failed" && task.reason ? html`<p class="card-note is-bad">${task.reason}</p>` : null}
  ${task.state === "verifying" ? html`<${AtGates} task=${task} />` : null}
  <footer>
    ${task.agent ? html`<span class="who"><${Avatar} name=${task.agent} size=${18} />${task.agent}</span>` : null}
    ${task.priority === "normal" ? null : html`<span class=${`priority priority-${task.priority}`}>${task.priority}</span>`}
    ${task.tags.slice(0, 3).map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}
    ${task.attempts > 1 ? html`<span class="quiet">${task.attempts} tries</span>` : null}
    <${Ago} at=${task.since} /></footer>
</li>`);

function DropAgents({ task, onDrop }) {
  const agents = useLive((live) => live.agents);
  if (!["pending", "assigned", "blocked"].includes(task.state)) return null;
  return html`<div class="drop-agents" aria-hidden="true"><p>Drop on an agent to assign</p><div>
    ${agents.slice(0, 40).map((agent) => html`<span key=${agent.id} class="drop-agent" onDragOver=${(event) => event.preventDefault()}
      onDrop=${(event) => { event.preventDefault(); onDrop(); attempt(() => api.assign(task.id, agent.name), `Assigned to ${agent.name}`); }}>
      <${Avatar} name=${agent.name} size=${22} />${agent.name}</span>`)}</div></div>`;
}
