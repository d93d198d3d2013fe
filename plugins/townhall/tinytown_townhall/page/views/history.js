// What happened: rounds of all agents over time, costs by day, and the events, to be searched.
import { html, useEffect, useMemo, useState } from "../ui.js";
import { get } from "../api.js";
import { clock, compact, counted, hue, money, took } from "../format.js";
import { now, useLive } from "../live.js";
import { AgentLink, Icon, Problem, useRequest, useTitle } from "../parts.js";
import { filter, go, usePlace } from "../router.js";
import { FeedLine } from "./now.js";

const SPANS = [["5m", 300], ["15m", 900], ["1h", 3600], ["6h", 21600], ["24h", 86400], ["7d", 604800]];
const DAYS = 30;
const LANES_AT_MOST = 40;

export function History() {
  useTitle("History");
  const { query } = usePlace();
  const ended = useLive((live) => live.events.findLast((event) => event.type === "round_ended")?.id ?? "");
  const [found, error] = useRequest(() => get("/v1/rounds?limit=500"), ended);
  const [kept, keep] = useState(null);
  useEffect(() => { if (found) keep(found.rounds); }, [found]);
  const rounds = found?.rounds ?? kept ?? [];
  return html`<div class="page history-page">
    <header class="section-head"><h1>History</h1></header>
    ${error && !rounds.length ? html`<${Problem} error=${error} />` : null}
    <${Timeline} rounds=${rounds} query=${query} />
    <div class="history-columns"><${CostsByDay} of=${ended} /><${CostsByAgent} of=${ended} /></div>
    <${EventList} query=${query} />
  </div>`;
}

// -- the timeline: one lane for each agent, a bar for each round

function Timeline({ rounds, query }) {
  const span = SPANS.find(([name]) => name === query.span) ?? SPANS.find(([, seconds]) => rounds.length && now() - Date.parse(rounds[Math.min(rounds.length, 100) - 1].began_at) < seconds * 1000) ?? SPANS[2];
  const seconds = span[1];
  const [back, setBack] = useState(0); // how far the end is in the past, in s
  const to = now() - back * 1000;
  const from = to - seconds * 1000;
  const agents = useLive((live) => live.agents);
  const lanes = useMemo(() => {
    const byAgent = new Map();
    const running = agents.filter((agent) => agent.state === "working" && agent.since).map(presentRound);
    for (const round of [...running, ...rounds]) {
      const begin = Date.parse(round.began_at || round.ended_at);
      const end = Date.parse(round.ended_at);
      if (end < from || begin > to) continue;
      if (!byAgent.has(round.agent)) byAgent.set(round.agent, []);
      byAgent.get(round.agent).push({ ...round, begin, end });
    }
    return [...byAgent].sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  }, [rounds, agents, from, to]);
  const oldest = rounds.length ? Date.parse(rounds[rounds.length - 1].ended_at) : now();
  const most = Math.max(0, Math.round((now() - oldest) / 1000 - seconds / 2));
  const finished = lanes.flatMap(([, own]) => own).filter((round) => round.outcome === "finished").length;
  const total = lanes.flatMap(([, own]) => own).filter((round) => round.outcome !== "running").length;
  return html`<section class="timeline card" aria-labelledby="timeline-title">
    <div class="section-head"><h2 id="timeline-title">Rounds <span class="count">${total}</span></h2>
      <span class="quiet">${finished.toLocaleString("en")} finished, ${Math.round((total / seconds) * 3600 * 10) / 10} an hour</span>
      <div class="segments" role="group" aria-label="Span">${SPANS.map(([name]) => html`<button key=${name} aria-pressed=${name === span[0]} onClick=${() => { filter({ span: name }); setBack(0); }}>${name}</button>`)}</div></div>
    <${Lanes} lanes=${lanes.slice(0, LANES_AT_MOST)} from=${from} to=${to} />
    ${lanes.length > LANES_AT_MOST ? html`<p class="quiet">and ${lanes.length - LANES_AT_MOST} more agents</p>` : null}
    ${most ? html`<label class="scrub"><span>${back ? `until ${clock(new Date(to).toISOString())}` : "until now"}</span>
      <input type="range" min="0" max=${most} step="1" value=${most - Math.min(back, most)} aria-label="Move through time"
        onInput=${(event) => setBack(most - Number(event.target.value))} /></label>` : null}
  </section>`;
}

/** The round that an agent is in, as far as is known. */
function presentRound(agent) {
  const began = Date.parse(agent.since);
  return {
    agent: agent.name, round_id: `present ${agent.id}`, outcome: "running", task: agent.current_task,
    began_at: agent.since, ended_at: new Date(now()).toISOString(), duration_s: (now() - began) / 1000,
  };
}

const BARS = { finished: "", running: "is-running" };

function Lanes({ lanes, from, to }) {
  if (!lanes.length) return html`<p class="quiet">No round ended in this span.</p>`;
  const place = (ms) => Math.min(100, Math.max(0, ((ms - from) / (to - from)) * 100));
  const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => from + share * (to - from));
  return html`<div class="lanes" role="table" aria-label="Rounds by agent">
    <div class="lane lane-marks" aria-hidden="true"><span></span><div>${marks.map((ms, index) => html`<i key=${index} style=${{ left: `${index * 25}%` }}>${clock(new Date(ms).toISOString()).replace(/:\d\d( |$)/, "$1")}</i>`)}</div></div>
    ${lanes.map(([name, rounds]) => html`<div class="lane" role="row" key=${name}><span role="rowheader"><${AgentLink} name=${name} size=${18} /></span>
      <div role="cell">${rounds.map((round) => html`<button key=${round.round_id} class=${`lane-bar ${BARS[round.outcome] ?? "is-bad"}`}
        style=${{ left: `${place(round.begin)}%`, width: `max(4px, ${place(round.end) - place(round.begin)}%)`, "--hue": hue(name) }}
        title=${`${name}: ${round.outcome} after ${took(round.duration_s)}, ${clock(round.ended_at)}`}
        aria-label=${`${round.outcome} after ${took(round.duration_s)}`}
        onClick=${() => go(round.task ? { view: "task", id: round.task } : { view: "agent", name, query: { tab: "rounds" } })}></button>`)}</div></div>`)}
  </div>`;
}

// -- costs

function CostsByDay({ of }) {
  const [costs, error] = useRequest(() => get("/v1/costs?by=day"), of);
  const [kept, keep] = useState(null);
  useEffect(() => { if (costs) keep(costs); }, [costs]);
  const shown = costs ?? kept;
  if (error && !shown) return html`<${Problem} error=${error} />`;
  const rows = shown?.rows.slice(-DAYS) ?? [];
  const priced = rows.some((row) => row.usd);
  const value = (row) => (priced ? (row.usd ?? 0) : row.input_tokens + row.output_tokens);
  const most = Math.max(0, ...rows.map(value));
  return html`<section class="card" aria-labelledby="days-title"><h2 id="days-title">${priced ? "Spent" : "Tokens"} by day</h2>
    ${most
      ? html`<ol class="days">${rows.map((row) => html`<li key=${row.name} title=${`${row.name}: ${money(row.usd)}, ${compact(row.input_tokens + row.output_tokens)} tokens, ${counted(row.rounds, "round")}`}>
          <span class="visually-hidden">${row.name}: ${money(row.usd)}</span><i style=${{ height: `${Math.max(2, (value(row) / most) * 100)}%` }}></i></li>`)}</ol>
        <p class="quiet days-foot"><span>${rows[0].name}</span><span>${rows.length > 1 ? "at most" : ""} ${priced ? money(most) : `${compact(most)} tokens`}${rows.length > 1 ? " a day" : ""}</span>${rows.length > 1 ? html`<span>${rows.at(-1).name}</span>` : null}</p>`
      : html`<p class="quiet">No round has reported what it used.</p>`}
    ${shown?.budgets.filter((budget) => budget.left !== null).map((budget) => html`<${Budget} key=${budget.budget + budget.agent} budget=${budget} />`)}
  </section>`;
}

const BUDGETS = { day_usd: "Budget of today", day_tokens: "Tokens of today", town_usd: "Budget in all", town_tokens: "Tokens in all" };

function Budget({ budget }) {
  const share = Math.min(1, (budget.spent ?? 0) / budget.limit);
  const text = budget.budget.endsWith("usd") ? money : compact;
  return html`<div class="budget"><span>${BUDGETS[budget.budget] ?? budget.budget.replaceAll("_", " ")}${budget.agent ? ` of ${budget.agent}` : ""}</span>
    <span class="bar"><i class=${share >= 1 ? "tone-bad" : share > 0.8 ? "tone-warn" : "tone-good"} style=${{ width: `${share * 100}%` }}></i></span>
    <span>${text(budget.spent)} of ${text(budget.limit)}</span></div>`;
}

function CostsByAgent({ of }) {
  const [costs] = useRequest(() => get("/v1/costs?by=agent"), of);
  const [kept, keep] = useState(null);
  useEffect(() => { if (costs) keep(costs); }, [costs]);
  const rows = (costs ?? kept)?.rows.slice(0, 10) ?? [];
  const value = (row) => row.usd || (row.input_tokens + row.output_tokens) / 1e9;
  const most = Math.max(1e-12, ...rows.map(value));
  return html`<section class="card" aria-labelledby="spenders-title"><h2 id="spenders-title">By agent</h2>
    ${rows.length ? null : html`<p class="quiet">No round has ended yet.</p>`}
    <ul class="spenders">${rows.map((row) => html`<li key=${row.name}>${row.name ? html`<${AgentLink} name=${row.name} />` : "–"}
      <span class="bar"><i style=${{ width: `${(value(row) / most) * 100}%` }}></i></span>
      <span>${row.usd === null ? `${compact(row.input_tokens + row.output_tokens)} tok` : money(row.usd)}</span><small>${counted(row.rounds, "round")}</small></li>`)}</ul>
  </section>`;
}

// -- events

function EventList({ query }) {
  const latest = useLive((live) => live.events.at(-1)?.id ?? "");
  const [found, error] = useRequest(() => get("/v1/events?limit=1000"), latest.slice(0, -6));
  const [kept, keep] = useState(null);
  useEffect(() => { if (found) keep(found); }, [found]);
  const events = (found ?? kept)?.events ?? [];
  const types = [...new Set(events.map((event) => event.type))].sort();
  const words = (query.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const shown = events.filter((event) => (!query.type || event.type === query.type) && words.every((word) => event.text.toLowerCase().includes(word))).reverse();
  return html`<section class="card events" aria-labelledby="events-title">
    <div class="section-head"><h2 id="events-title">Events <span class="count">${shown.length}</span></h2>
      <div class="filters"><label class="field-search"><span class="visually-hidden">Find events</span><${Icon} name="search" size="16" />
        <input type="search" placeholder="Agent, task, word…" value=${query.q ?? ""} onInput=${(event) => filter({ q: event.target.value })} /></label>
      <label class="select"><span class="visually-hidden">Type</span><select class=${query.type ? "is-set" : ""} value=${query.type ?? ""} onChange=${(event) => filter({ type: event.target.value })}>
        <option value="">All types</option>${types.map((type) => html`<option key=${type} value=${type}>${type.replaceAll("_", " ")}</option>`)}</select></label></div></div>
    ${error && !events.length ? html`<${Problem} error=${error} />` : null}
    <ol class="feed-list">${shown.slice(0, 200).map((event) => html`<${FeedLine} key=${event.id} event=${event} />`)}</ol>
  </section>`;
}
