// What is asked for in a dialog: a new task, a message, a new agent; the command palette; the keys.
import { html, cx, useEffect, useMemo, useRef, useState } from "./ui.js";
import { api } from "./actions.js";
import { get } from "./api.js";
import { tone } from "./format.js";
import { state, useLive } from "./live.js";
import { Action, Avatar, Dialog, Icon, attempt, open } from "./parts.js";
import { go } from "./router.js";
import { nextTheme } from "./theme-choice.js";

export function Dialogs() {
  const dialog = useLive((live) => live.dialog);
  switch (dialog?.kind) {
    case "task": return html`<${NewTask} agent=${dialog.agent ?? ""} />`;
    case "send": return html`<${Send} to=${dialog.to ?? ""} />`;
    case "spawn": return html`<${Spawn} />`;
    case "freeze": return html`<${Freeze} />`;
    case "palette": return html`<${Palette} />`;
    case "help": return html`<${Help} />`;
    default: return null;
  }
}

function submitter(run, done) {
  return async (event) => {
    event.preventDefault();
    if (await attempt(() => run(Object.fromEntries(new FormData(event.target))), done)) open(null);
  };
}

function Agents({ name, value, empty }) {
  const agents = useLive((live) => live.agents);
  return html`<select name=${name} value=${value}>${empty ? html`<option value="">${empty}</option>` : null}
    ${agents.map((agent) => html`<option key=${agent.id} value=${agent.name}>${agent.name} (${agent.state})</option>`)}</select>`;
}

const split = (text) => text.split(/[\s,]+/).filter(Boolean);

function NewTask({ agent }) {
  const run = (given) => api.addTask({
    description: given.description, title: given.title, agent: given.agent, priority: given.priority,
    tags: split(given.tags), needs: split(given.needs),
  });
  return html`<${Dialog} title="New task"><form class="form" onSubmit=${submitter(run, "Added")}>
    <label>What is to be done<textarea name="description" rows="6" required autofocus></textarea></label>
    <label><span>Title <small>optional</small></span><input name="title" maxlength="200" /></label>
    <div class="form-row">
      <label>Agent<${Agents} name="agent" value=${agent} empty="Backlog" /></label>
      <label>Priority<select name="priority">${["normal", "urgent", "high", "low"].map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
    </div>
    <div class="form-row">
      <label><span>Tags <small>idle agents with one of them take it</small></span><input name="tags" placeholder="docs, python" /></label>
      <label><span>Needs <small>ids of tasks</small></span><input name="needs" placeholder="1f3ab0d2" /></label>
    </div>
    <div class="actions"><button class="button primary">Add task</button></div>
  </form><//>`;
}

function Send({ to }) {
  const run = (given) => api.send({ to: given.to, message: given.message, kind: given.kind, urgent: given.urgent === "on" });
  return html`<${Dialog} title="Send a message"><form class="form" onSubmit=${submitter(run, "Sent")}>
    <div class="form-row"><label>To<${Agents} name="to" value=${to} /></label>
      <label>Kind<select name="kind"><option value="task">Order</option><option value="query">Question</option><option value="info">Information</option></select></label></div>
    <label>Message<textarea name="message" rows="5" required autofocus></textarea></label>
    <label class="check"><input type="checkbox" name="urgent" />Urgent: delivered first</label>
    <div class="actions"><button class="button primary">Send</button></div>
  </form><//>`;
}

function Spawn() {
  const hosts = useLive((live) => live.town?.hosts ?? []);
  const kinds = [...new Set(hosts.flatMap((host) => host.backends))].sort();
  const run = (given) => api.spawn({ name: given.name, role: given.role, tags: split(given.tags), ...(given.cli ? { cli: given.cli } : {}) });
  return html`<${Dialog} title="Spawn an agent"><form class="form" onSubmit=${submitter(run, "Spawned")}>
    <label>Name<input name="name" required autofocus pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*" title="Letters, digits, '.', '_' and '-'" autocomplete="off" /></label>
    <div class="form-row">
      <label>Kind<input name="cli" list="kinds" placeholder="the town's default" autocomplete="off" /><datalist id="kinds">${kinds.map((kind) => html`<option key=${kind} value=${kind} />`)}</datalist></label>
      <label><span>Role <small>optional</small></span><input name="role" placeholder="worker, reviewer…" autocomplete="off" /></label>
    </div>
    <label><span>Tags <small>it takes tasks of the backlog with one of them</small></span><input name="tags" placeholder="docs, python" /></label>
    <div class="actions"><button class="button primary">Spawn</button></div>
  </form><//>`;
}

function Freeze() {
  const run = (given) => api.freeze(given.reason);
  return html`<${Dialog} title="Freeze the town"><form class="form" onSubmit=${submitter(run, "The town is frozen")}>
    <p>Every running process stops where it is, on all machines, and nothing new starts. No work is lost; thawing continues it.</p>
    <label><span>Why <small>optional</small></span><input name="reason" autofocus /></label>
    <div class="actions"><button class="button danger">Freeze everything</button></div>
  </form><//>`;
}

// -- the palette

function commands() {
  const frozen = state.town?.frozen;
  return [
    { icon: "now", text: "Go to Now", keys: "g n", run: () => go({ view: "now" }) },
    ...state.panels.map(({ view, title }) => ({ icon: "now", text: `Go to ${title}`, run: () => go({ view }) })),
    { icon: "board", text: "Go to Board", keys: "g b", run: () => go({ view: "board" }) },
    { icon: "graph", text: "Go to the graph of needs", run: () => go({ view: "board", query: { as: "graph" } }) },
    { icon: "history", text: "Go to History", keys: "g h", run: () => go({ view: "history" }) },
    { icon: "plus", text: "New task", keys: "c", run: () => open({ kind: "task" }) },
    { icon: "send", text: "Send a message", keys: "m", run: () => open({ kind: "send" }) },
    { icon: "plus", text: "Spawn an agent", run: () => open({ kind: "spawn" }) },
    frozen
      ? { icon: "snow", text: "Thaw the town", run: () => attempt(api.thaw, "The town is thawed") }
      : { icon: "snow", text: "Freeze the town", run: () => open({ kind: "freeze" }) },
    { icon: "moon", text: "Change the theme", keys: "t", run: nextTheme },
    { icon: "keyboard", text: "Show all keys", keys: "?", run: () => open({ kind: "help" }) },
  ];
}

const FOUND = 30;

function Palette() {
  const [words, setWords] = useState("");
  const [tasks, setTasks] = useState(state.tasks);
  const [at, setAt] = useState(0);
  const list = useRef(null);
  useEffect(() => {
    if (!tasks.length) get("/v1/task-rows?limit=500").then((page) => setTasks(page.tasks), () => {});
  }, []);
  const found = useMemo(() => {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (text) => wanted.every((word) => text.toLowerCase().includes(word));
    const entries = commands().filter((entry) => fits(entry.text));
    for (const agent of state.agents) if (fits(`${agent.name} ${agent.nickname ?? ""} ${agent.role ?? ""} agent`)) entries.push({ agent, text: agent.name, note: agent.state, run: () => go({ view: "agent", name: agent.name }) });
    if (wanted.length) for (const task of tasks) if (fits(`${task.title} ${task.id} task`)) entries.push({ task, text: task.title, note: task.state, run: () => go({ view: "task", id: task.id }) });
    return entries.slice(0, FOUND);
  }, [words, tasks]);
  useEffect(() => list.current?.children[at]?.scrollIntoView({ block: "nearest" }), [at, found]);
  const run = (entry) => {
    open(null);
    entry?.run();
  };
  const key = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      setAt((old) => (old + step + found.length) % Math.max(1, found.length));
    } else if (event.key === "Enter") {
      event.preventDefault();
      run(found[at]);
    }
  };
  return html`<${Dialog} title="Commands" class="palette">
    <div class="palette-field"><${Icon} name="search" />
      <input type="text" autofocus role="combobox" aria-expanded="true" aria-controls="palette-list" aria-label="Find commands, agents and tasks" autocomplete="off"
        aria-activedescendant=${found.length ? `entry-${at}` : undefined} placeholder="Commands, agents, tasks…" value=${words}
        onInput=${(event) => { setWords(event.target.value); setAt(0); }} onKeyDown=${key} /></div>
    <ul id="palette-list" role="listbox" aria-label="Found" ref=${list}>
      ${found.map((entry, index) => html`<li key=${entry.text + index} id=${`entry-${index}`} role="option" aria-selected=${index === at} class=${cx(index === at && "is-at")}
          onMouseMove=${() => setAt(index)} onClick=${() => run(entry)}>
        ${entry.agent ? html`<${Avatar} name=${entry.agent.name} size=${20} />` : entry.task ? html`<i class=${`dot tone-${tone(entry.task.state)}`}></i>` : html`<${Icon} name=${entry.icon} size="16" />`}
        <span>${entry.text}</span>${entry.note ? html`<small>${entry.note}</small>` : null}
        ${entry.keys ? html`<span class="keys">${entry.keys.split(" ").map((name) => html`<kbd key=${name}>${name}</kbd>`)}</span>` : null}</li>`)}
    </ul>
    ${found.length ? null : html`<p class="quiet">No matches.</p>`}
  <//>`;
}

const KEYS = [
  ["Ctrl K", "Commands, agents, tasks"], ["g n", "Now"], ["g b", "Board"], ["g h", "History"], ["c", "New task"], ["m", "Send a message"],
  ["/", "Find on this page"], ["t", "Change the theme"], ["Ctrl Enter", "Send what was written"], ["Esc", "Close"], ["?", "These keys"],
];

function Help() {
  return html`<${Dialog} title="Keys"><dl class="keys-list">${KEYS.map(([keys, text]) => html`<div key=${keys}><dt>${keys.split(" ").map((name) => html`<kbd key=${name}>${name}</kbd>`)}</dt><dd>${text}</dd></div>`)}</dl><//>`;
}
