// One task in full: what it says, why it is where it is, what came of it, and what can be done.
import { html, useEffect, useState } from "../ui.js";
import { api, decide } from "../actions.js";
import { get, path } from "../api.js";
import { clock, counted, money, shortId, took } from "../format.js";
import { useLive } from "../live.js";
import { Action, Ago, AgentLink, Icon, Link, Problem, State, attempt, useRequest, useTitle } from "../parts.js";

const FINISHED = ["completed", "failed", "cancelled"];

export function Task({ id }) {
  useTitle("Task");
  const changes = useLive((live) => live.events.findLast((event) => event.task?.startsWith(id))?.id ?? "");
  const [task, error] = useRequest(() => get(path`/v1/tasks/${id}`), `${id} ${changes}`);
  const [kept, keep] = useState(null);
  useEffect(() => { if (task) keep(task); }, [task]);
  const shown = task ?? (kept?.id.startsWith(id) ? kept : null);
  if (error && !shown) return html`<div class="page"><${Problem} error=${error} /><${Link} class="button" to=${{ view: "board" }}>To the board<//></div>`;
  if (!shown) return html`<div class="page" aria-busy="true"></div>`;
  return html`<${Details} task=${shown} key=${shown.id} />`;
}

function Details({ task }) {
  return html`<article class="page task-page">
    <header class="page-head">
      <div class="crumbs"><${Link} to=${{ view: "board" }}><${Icon} name="back" size="16" />Board<//> <code>${shortId(task.id)}</code></div>
      <h1>${task.title || task.description.trim().split("\n")[0]}</h1>
      <div class="meta">
        <${State} state=${task.state} /><${Ago} at=${task.since} prefix="for " />
        ${task.priority === "normal" ? null : html`<span class=${`priority priority-${task.priority}`}>${task.priority}</span>`}
        ${task.assigned_to ? html`<${AgentLink} name=${task.assigned_to} />` : html`<span class="quiet">unassigned</span>`}
        ${task.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}
      </div>
      <${TaskActions} task=${task} />
    </header>
    <div class="task-columns">
      <div>
        ${task.reason && task.reason !== task.result ? html`<p class="callout"><strong>Reason:</strong> ${task.reason}</p>` : null}
        ${task.held ? html`<p class="callout"><strong>On hold:</strong> ${task.held}</p>` : null}
        ${task.rejection ? html`<p class="callout is-warn"><strong>Sent back:</strong> ${task.rejection}</p>` : null}
        <section><h2>Description</h2><pre class="text">${task.description}</pre></section>
        ${task.result ? html`<section><h2>Result</h2><pre class="text">${task.result}</pre></section>` : null}
        <${Rounds} query=${`task=${encodeURIComponent(task.id)}`} of=${task.updated_at} />
      </div>
      <aside>
        <${Needs} task=${task} />
        <dl class="facts-list">
          <dt>Created</dt><dd>${task.created_at ? clock(task.created_at) : "–"}</dd>
          ${task.started_at ? html`<dt>Started</dt><dd>${clock(task.started_at)}</dd>` : null}
          ${task.completed_at ? html`<dt>Ended</dt><dd>${clock(task.completed_at)}</dd>` : null}
          <dt>Attempts</dt><dd>${task.attempts}</dd>
          ${task.role ? html`<dt>For role</dt><dd>${task.role}</dd>` : null}
          <dt>Id</dt><dd><code>${task.id}</code></dd>
        </dl>
      </aside>
    </div>
  </article>`;
}

function TaskActions({ task }) {
  const agents = useLive((live) => live.agents);
  const [asked, ask] = useState("");
  const [text, setText] = useState("");
  const done = FINISHED.includes(task.state);
  const ASK = {
    complete: ["What was done?", (words) => api.complete(task.id, words), "Completed", "Complete"],
    reopen: ["What is wrong with it? Its agent reads this.", (words) => decide.reopen(task.id, words), "Reopened", "Send back"],
    hold: ["Why is it held back?", (words) => api.hold(task.id, words), "On hold", "Hold"],
    cancel: ["Why?", (words) => decide.cancel(task.id, words), "Cancelled", "Cancel task"],
  };
  const choose = (name) => () => ask(asked === name ? "" : name);
  const entry = ASK[asked];
  return html`<div class="task-actions">
    <div class="actions">
      ${done ? html`<button class="button" onClick=${choose("reopen")}>${task.state === "completed" ? "Send back" : "Try again"}</button>` : null}
      ${task.held ? html`<${Action} class="primary" run=${() => decide.release(task.id)} done="Released">Release<//>` : null}
      ${!done && !task.held ? html`<button class="button" onClick=${choose("hold")}>Hold</button>` : null}
      ${!done ? html`<button class="button" onClick=${choose("complete")}>Complete</button>` : null}
      ${!done && task.assigned_to ? html`<${Action} run=${() => api.requeue(task.id)} done="On the backlog">To the backlog<//>` : null}
      ${!done ? html`<button class="button danger" onClick=${choose("cancel")}>Cancel task</button>` : null}
      ${done ? html`<${Action} class="danger" confirm="Delete for good?" run=${() => api.deleteTask(task.id)} done="Deleted">Delete<//>` : null}
      ${["pending", "assigned", "blocked"].includes(task.state)
        ? html`<label class="select"><span class="visually-hidden">Assign to</span>
            <select value="" onChange=${(event) => attempt(() => api.assign(task.id, event.target.value), "Assigned")}>
              <option value="">${task.assigned_to ? "Reassign…" : "Assign to…"}</option>
              ${agents.map((agent) => html`<option key=${agent.id} value=${agent.name}>${agent.name} (${agent.state})</option>`)}
            </select></label>
          <label class="select"><span class="visually-hidden">Priority</span>
            <select value=${task.priority} onChange=${(event) => attempt(() => api.changeTask(task.id, { priority: event.target.value }), "Priority changed")}>
              ${["urgent", "high", "normal", "low"].map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
            </select></label>`
        : null}
    </div>
    ${entry
      ? html`<form class="reply" onSubmit=${(event) => { event.preventDefault(); event.currentTarget.querySelector(".primary").click(); }}>
          <label><span>${entry[0]}</span><textarea rows="2" autofocus value=${text} onInput=${(event) => setText(event.target.value)}></textarea></label>
          <div class="actions"><${Action} class="primary" disabled=${asked === "hold" && !text.trim()}
            run=${async () => { await entry[1](text.trim()); ask(""); setText(""); }} done=${entry[2]}>${entry[3]}<//></div>
        </form>`
      : null}
  </div>`;
}

function Needs({ task }) {
  if (!task.needs.length) return null;
  return html`<section><h2>Needs ${counted(task.needs.length, "task")}</h2><ul class="needs-of">
    ${task.needs.map((id) => html`<${Need} key=${id} id=${id} isOpen=${task.open_needs.includes(id)} />`)}</ul></section>`;
}

function Need({ id, isOpen }) {
  const [task] = useRequest(() => get(path`/v1/tasks/${id}`), id);
  return html`<li><${State} state=${isOpen ? (task?.state ?? "pending") : "completed"} />
    <${Link} to=${{ view: "task", id }}>${task ? task.title || task.description.split("\n")[0] : shortId(id)}<//></li>`;
}

// -- rounds: also those of an agent

export function Rounds({ query, of }) {
  const [found, error] = useRequest(() => get(`/v1/rounds?limit=50&${query}`), `${query} ${of}`);
  const [kept, keep] = useState(null);
  useEffect(() => { if (found) keep(found); }, [found]);
  const rounds = (found ?? kept)?.rounds ?? [];
  if (error && !rounds.length) return html`<${Problem} error=${error} />`;
  const longest = Math.max(1, ...rounds.map((round) => round.duration_s));
  return html`<section class="rounds"><h2>Rounds <span class="count">${rounds.length}</span></h2>
    ${rounds.length ? null : html`<p class="quiet">No round has ended yet.</p>`}
    <ol>${rounds.map((round) => html`<${Round} key=${round.round_id} round=${round} share=${round.duration_s / longest} />`)}</ol>
  </section>`;
}

function Round({ round, share }) {
  const [isOpen, toggle] = useState(false);
  const usage = round.usage ?? {};
  const tokens = (usage.input_tokens ?? 0) + (usage.output_tokens ?? 0);
  return html`<li class="round">
    <details onToggle=${(event) => toggle(event.currentTarget.open)}>
      <summary>
        <${State} state=${round.outcome} />
        <span class="round-when">${clock(round.ended_at)}</span>
        <span class="bar"><i style=${{ width: `${Math.max(2, share * 100)}%` }} class=${`tone-${round.outcome === "finished" ? "good" : "bad"}`}></i></span>
        <span class="round-took">${took(round.duration_s)}</span>
        <span class="spent">${usage.cost_usd === undefined || usage.cost_usd === null ? (tokens ? `${tokens.toLocaleString("en")} tok` : "") : money(usage.cost_usd)}</span>
      </summary>
      ${isOpen ? html`<${RoundDetails} round=${round} />` : null}
    </details>
  </li>`;
}

function RoundDetails({ round }) {
  const [found, error] = useRequest(() => get(path`/v1/rounds/${round.round_id}`), round.round_id);
  if (error) return html`<${Problem} error=${error} />`;
  return html`<div class="round-details">
    ${round.reason ? html`<p class="callout"><strong>Why:</strong> ${round.reason}</p>` : null}
    ${round.task ? html`<p><${Link} to=${{ view: "task", id: round.task }}>Task ${shortId(round.task)}<//></p>` : null}
    <h3>Answer</h3><pre class="text">${round.text || "nothing"}</pre>
    ${found?.transcript?.prompt ? html`<h3>Prompt</h3><pre class="text is-tall">${found.transcript.prompt}</pre>` : null}
    ${found?.transcript?.tail ? html`<h3>Last output</h3><pre class="text is-tall">${found.transcript.tail}</pre>` : null}
  </div>`;
}
