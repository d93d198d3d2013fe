// What happens now: what needs a person, who does what, and what was just reported.
import { html, cx, memo, useState } from "../ui.js";
import { api, decide } from "../actions.js";
import { compact, counted, money } from "../format.js";
import { useLive } from "../live.js";
import { Action, Ago, AgentLink, Avatar, Empty, Icon, Link, State, open, useMore, useTitle } from "../parts.js";
import { filter, parse, usePlace } from "../router.js";
import { Skyline } from "../skyline.js";

const CARDS_AT_MOST = 60; // more agents than this are rows
const ROWS_AT_ONCE = 80;
const FEED_SHOWN = 60;

export function Now() {
  useTitle("Now");
  return html`<div class="now"><h1 class="visually-hidden">What happens now</h1>
    <${Facts} />
    <${NeedsYou} />
    <div class="now-columns">
      <${Agents} />
      <${Feed} />
    </div>
  </div>`;
}

function Facts() {
  const town = useLive((live) => live.town);
  const agents = useLive((live) => live.agents);
  const working = agents.filter((agent) => agent.state === "working").length;
  const open = ["pending", "blocked", "assigned", "running", "verifying"].reduce((sum, name) => sum + (town.tasks[name] ?? 0), 0);
  return html`<section class="hero card" aria-label="The town in numbers"><${Skyline} agents=${agents} /><div class="facts" tabindex="0" role="group" aria-label="Figures">
    <${Fact} icon="bolt" value=${working} of=${agents.length} name="agents working" />
    <${Fact} icon="board" value=${town.tasks.running ?? 0} of=${open} name="open tasks running" />
    <${Fact} icon="check" value=${town.tasks.completed ?? 0} name="tasks completed" />
    <${Fact} icon="coins" value=${town.usd === null ? compact(town.tokens) : money(town.usd)} name=${town.usd === null ? "tokens used" : `spent, ${compact(town.tokens)} tokens`} />
    <${Fact} icon="server" value=${town.hosts.length} name=${town.hosts.length === 1 ? "kernel running" : "kernels running"} />
  </div></section>`;
}

function Fact({ icon, value, of, name }) {
  return html`<div class="fact"><${Icon} name=${icon} />
    <strong>${value.toLocaleString("en")}${of === undefined ? null : html`<small> / ${of.toLocaleString("en")}</small>`}</strong><span>${name}</span></div>`;
}

// -- what needs a person

const KINDS = {
  frozen: ["snow", "Frozen"], no_kernel: ["server", "Kernel"], question: ["mail", "Question"], held: ["pause", "On hold"],
  error: ["alert", "Error"], budget: ["coins", "Budget"], dead: ["mail", "Undeliverable"], failed: ["alert", "Failed"],
  message: ["mail", "Message"], parked: ["pause", "Rate limit"], other: ["check", ""],
};
const FEW = 4;

function NeedsYou() {
  const items = useLive((live) => live.attention);
  const [all, setAll] = useState(false);
  const shown = all ? items : items.slice(0, FEW);
  return html`<section class="needs" aria-labelledby="needs-title">
    <h2 id="needs-title">Needs you ${items.length ? html`<span class="count">${items.length}</span>` : null}</h2>
    ${items.length
      ? html`<ul class="needs-list">${shown.map((item) => html`<${Need} key=${item.kind + item.id} item=${item} />`)}</ul>`
      : html`<p class="quiet"><${Icon} name="check" /> Nothing needs you.</p>`}
    ${items.length > FEW ? html`<button class="button" onClick=${() => setAll(!all)}>${all ? "Show fewer" : `Show all ${items.length}`}</button>` : null}
  </section>`;
}

const Need = memo(({ item }) => {
  const [icon, name] = KINDS[item.kind];
  return html`<li class=${cx("need", `need-${item.kind}`)}>
    <header>
      <span class="need-kind"><${Icon} name=${icon} size="16" />${item.label || name}</span>
      ${item.agent && item.agent !== "supervisor" ? html`<${AgentLink} name=${item.agent} />` : null}
      ${item.round_waits ? html`<span class="tag">its round waits</span>` : null}
      <${Ago} at=${item.since} />
    </header>
    ${["question", "message", "error"].includes(item.kind) ? null : html`<h3>${item.task ? html`<${Link} to=${{ view: "task", id: item.task }}>${item.title}<//>` : item.title}</h3>`}
    ${item.text ? html`<p class="need-text">${item.text}</p>` : null}
    <${Answer} item=${item} />
  </li>`;
});

function Answer({ item }) {
  switch (item.kind) {
    case "question":
    case "message":
      return item.options?.length ? html`<${Options} item=${item} />` : html`<${Reply} item=${item} />`;
    case "held":
      return html`<div class="actions">
        <${Action} class="primary" run=${() => decide.release(item.id)} done="Released">Release<//>
        <${Action} class="danger" confirm="Cancel the task?" run=${() => decide.cancel(item.id)} done="Cancelled">Cancel task<//>
      </div>`;
    case "error":
      return html`<div class="actions">
        <${Action} class="primary" run=${() => api.resume(item.id)} done=${`${item.id} resumes`}>Resume<//>
        <${Link} class="button" to=${{ view: "agent", name: item.id }}>Open agent<//>
      </div>`;
    case "dead":
      return html`<div class="actions">
        <${Action} class="primary" run=${() => decide.redrive(item.id)} done="Returned to its mailbox">Deliver again<//>
        <${Action} class="danger" confirm="Delete it?" run=${() => decide.drop(item.id)} done="Deleted">Delete<//>
      </div>`;
    case "failed":
      return html`<div class="actions">
        <${Action} class="primary" run=${() => decide.reopen(item.id)} done="Reopened">Try again<//>
        <${Action} class="danger" confirm="Delete the task?" run=${() => api.deleteTask(item.id)} done="Deleted">Delete<//>
      </div>`;
    case "frozen":
      return html`<div class="actions"><${Action} class="primary" run=${api.thaw} done="The town is thawed">Thaw the town<//></div>`;
    case "no_kernel":
      return html`<div class="actions"><${Action} class="primary" run=${api.start} done="A kernel runs">Start a kernel<//></div>`;
    case "parked":
      return html`<div class="actions"><${Action} run=${() => api.unpark(item.id)} done="Released">Release it now<//></div>`;
    case "other":
      return html`<div class="actions"><${Link} class="button primary" to=${parse(new URL(item.link, location.href))}>Open ${item.label.toLowerCase()}<//></div>`;
    default:
      return null;
  }
}

function Options({ item }) {
  return html`<div class="actions">${item.options.map((option) => html`<${Action} key=${option} run=${() => decide.answer(item.id, option, "info")} done="Answered">${option}<//>`)}</div>`;
}

function Reply({ item }) {
  const [text, setText] = useState("");
  const answer = (words, kind) => async () => {
    await decide.answer(item.id, words, kind);
    setText("");
  };
  const submit = (event) => {
    if (event.key === "Enter" && (event.metaKey || event.ctrlKey) && text.trim()) event.currentTarget.form.requestSubmit();
  };
  return html`<form class="reply" onSubmit=${(event) => { event.preventDefault(); event.currentTarget.querySelector(".primary").click(); }}>
    <label class="visually-hidden" for=${`reply-${item.id}`}>Answer to ${item.agent}</label>
    <textarea id=${`reply-${item.id}`} rows="1" placeholder="Answer…" value=${text} onInput=${(event) => setText(event.target.value)} onKeyDown=${submit}></textarea>
    <div class="actions">
      <${Action} class="primary" disabled=${!text.trim()} run=${answer(text, "info")} done="Answered">Answer<//>
      ${item.round_waits ? null : item.kind === "question"
        ? html`<${Action} run=${answer("approved", "ack")} done="Approved">Approve<//>
            <${Action} class="danger" run=${answer(`rejected: ${text.trim() || "no"}`, "ack")} done="Rejected">Reject<//>`
        : html`<${Action} run=${() => decide.dismiss(item.id)} done="Dismissed">Dismiss<//>`}
    </div>
  </form>`;
}

// -- agents

const CHOICES = [
  ["", "All", () => true],
  ["working", "Working", (agent) => agent.state === "working"],
  ["waiting", "Waiting", (agent) => ["idle", "suspended", "starting"].includes(agent.state)],
  ["paused", "Paused", (agent) => ["paused", "draining"].includes(agent.state) || agent.desired_state === "paused"],
  ["trouble", "Trouble", (agent) => agent.state === "error" || agent.failures > 0],
  ["stopped", "Stopped", (agent) => agent.state === "stopped"],
];
const ORDER = { error: 0, working: 1, starting: 2, draining: 2, idle: 3, paused: 4, suspended: 5, stopped: 6 };

function matches(agent, words) {
  const text = `${agent.name} ${agent.nickname ?? ""} ${agent.role ?? ""} ${agent.cli} ${agent.tags.join(" ")} ${agent.task_title}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function Agents() {
  const agents = useLive((live) => live.agents);
  const { query } = usePlace();
  const words = (query.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const choice = CHOICES.find(([key]) => key === (query.state ?? "")) ?? CHOICES[0];
  const found = agents.filter((agent) => choice[2](agent) && matches(agent, words));
  found.sort((a, b) => ORDER[a.state] - ORDER[b.state] || a.name.localeCompare(b.name, "en", { numeric: true }));
  const rows = agents.length > CARDS_AT_MOST;
  const [count, more] = useMore(found.length, ROWS_AT_ONCE);
  if (!agents.length) {
    return html`<section class="agents"><${Empty} title="No agents yet">
      <button class="button primary" onClick=${() => open({ kind: "spawn" })}>Spawn the first agent</button><//></section>`;
  }
  return html`<section class="agents" aria-labelledby="agents-title">
    <div class="section-head">
      <h2 id="agents-title">Agents <span class="count">${found.length.toLocaleString("en")}</span></h2>
      <div class="chips" role="group" aria-label="Which agents">
        ${CHOICES.map(([key, name, test]) => {
          const number = key ? agents.filter(test).length : agents.length;
          if (key && !number && key !== choice[0]) return null;
          return html`<button key=${key} class="chip" aria-pressed=${key === choice[0]} onClick=${() => filter({ state: key })}>${name} <small>${number.toLocaleString("en")}</small></button>`;
        })}
      </div>
      <label class="field-search"><span class="visually-hidden">Find agents</span><${Icon} name="search" size="16" />
        <input type="search" placeholder="Name, role, task…" value=${query.q ?? ""} onInput=${(event) => filter({ q: event.target.value })} /></label>
    </div>
    <ul class=${rows ? "agent-rows" : "agent-cards"}>
      ${found.slice(0, count).map((agent) => html`<${rows ? AgentRow : AgentCard} key=${agent.id} agent=${agent} />`)}
    </ul>
    ${more}
    ${found.length ? null : html`<p class="quiet">No agent matches.</p>`}
  </section>`;
}

function doing(agent) {
  if (agent.state === "working") return agent.task_title || "Handling its mail";
  return agent.activity;
}

const AgentCard = memo(({ agent }) => html`<li class=${cx("card agent-card", `is-${agent.state}`)}>
  <${Link} to=${{ view: "agent", name: agent.name }} class="card-cover" aria-label=${`${agent.name}, ${agent.state}`} />
  <header><${Avatar} name=${agent.name} size=${34} />
    <div><h3>${agent.name}</h3><p>${agent.role ?? agent.cli}${agent.role ? html` · ${agent.cli}` : null}</p></div>
    <${State} state=${agent.state} /></header>
  <p class="agent-doing">${doing(agent)}</p>
  <p class="agent-words">${(agent.state !== "error" && agent.words) || "\u00a0"}</p>
  <footer><${Ago} at=${agent.since} prefix="for " />
    <span>${counted(agent.open_tasks, "open task")}</span>
    ${agent.inbox.queued ? html`<span class="has-mail" title="Queued messages"><${Icon} name="mail" size="14" />${agent.inbox.queued}</span>` : null}
    <span class="spent">${agent.usd === null ? `${compact(agent.tokens)} tok` : money(agent.usd)}</span></footer>
</li>`);

const AgentRow = memo(({ agent }) => html`<li class="agent-row">
  <${Link} to=${{ view: "agent", name: agent.name }} class="card-cover" aria-label=${`${agent.name}, ${agent.state}`} />
  <${Avatar} name=${agent.name} size=${24} /><strong>${agent.name}</strong><${State} state=${agent.state} />
  <span class="agent-doing">${doing(agent)}</span>
  <span class="agent-words">${agent.words}</span>
  <span class="spent">${agent.usd === null ? `${compact(agent.tokens)} tok` : money(agent.usd)}</span><${Ago} at=${agent.since} />
</li>`);

// -- the feed

const QUIET = new Set(["plugin_data_changed", "townhall_request", "agent_reported", "agent_activity"]); // cards show what is reported

function Feed() {
  const events = useLive((live) => live.events);
  const shown = events.filter((event) => !QUIET.has(event.type)).slice(-FEED_SHOWN).reverse();
  return html`<section class="feed" aria-labelledby="feed-title">
    <div class="section-head"><h2 id="feed-title">Activity</h2></div>
    <ol tabindex="0" aria-labelledby="feed-title">${shown.map((event) => html`<${FeedLine} key=${event.id} event=${event} />`)}</ol>
  </section>`;
}

export const FeedLine = memo(({ event }) => {
  const about = event.new ?? event.outcome ?? "";
  const text = event.text.replaceAll(" -> ", " → ");
  return html`<li class=${cx("feed-line", `on-${event.type}`)}>
    <i class=${`dot tone-${toneOf(event, about)}`}></i>
    <span>${event.task ? html`<${Link} to=${{ view: "task", id: event.task }}>${text}<//>` : text}</span>
    <${Ago} at=${event.at} /></li>`;
});

function toneOf(event, about) {
  if (about === "completed" || about === "finished") return "good";
  if (["failed", "error", "lost", "unavailable", "unauthorized"].includes(about) || event.type === "message_dead") return "bad";
  if (event.type === "round_started" || about === "running" || about === "working") return "busy";
  if (["paused", "blocked", "rate_limited"].includes(about) || event.type.startsWith("budget") || event.type === "town_frozen") return "warn";
  return "calm";
}
