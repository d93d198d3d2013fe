// One agent: what it does, live; its mail; its rounds; and what can be asked of it.
import { html, cx, useEffect, useLayoutEffect, useRef, useState } from "../ui.js";
import { api } from "../actions.js";
import { get, path } from "../api.js";
import { clock, compact, counted, money, shortId } from "../format.js";
import { agentNamed, useLive } from "../live.js";
import { Action, Ago, Avatar, Empty, Icon, Link, Problem, State, useRequest, useTitle } from "../parts.js";
import { filter, usePlace } from "../router.js";
import { FeedLine } from "./now.js";
import { Rounds } from "./task.js";

const TABS = [["log", "Live log"], ["mail", "Mailbox"], ["rounds", "Rounds"], ["events", "Events"]];
const LINES_KEPT = 2000;

export function Agent({ name }) {
  useTitle(name);
  const agent = useLive(() => agentNamed(name));
  const { query } = usePlace();
  const tab = TABS.some(([key]) => key === query.tab) ? query.tab : "log";
  if (!agent) return html`<div class="page"><${Empty} title="No such agent">This town has no agent called ${name}.<//></div>`;
  return html`<article class="page agent-page">
    <header class="page-head">
      <div class="crumbs"><${Link} to=${{ view: "now" }}><${Icon} name="back" size="16" />Now<//></div>
      <div class="agent-title"><${Avatar} name=${agent.name} size=${48} />
        <div><h1>${agent.name}</h1><p class="quiet">${[agent.nickname, agent.role, agent.cli].filter(Boolean).join(" · ")}</p></div></div>
      <div class="meta"><${State} state=${agent.state} /><${Ago} at=${agent.since} prefix="for " />
        <span>${counted(agent.rounds_completed, "round")}</span><span>${counted(agent.tasks_completed, "task")} completed</span>
        <span>${compact(agent.tokens)} tokens</span><span>${money(agent.usd)}</span>
        ${agent.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}</div>
      <${Doing} agent=${agent} />
      <${Steer} agent=${agent} />
    </header>
    <${SendBox} agent=${agent} />
    <div class="tabs" role="tablist" aria-label="About this agent">
      ${TABS.map(([key, title]) => html`<button key=${key} role="tab" id=${`tab-${key}`} aria-selected=${key === tab} aria-controls="tab-panel"
        tabindex=${key === tab ? 0 : -1} onKeyDown=${(event) => moveTab(event, tab)} onClick=${() => filter({ tab: key === "log" ? "" : key })}>${title}
        ${key === "mail" && agent.inbox.queued ? html`<span class="count">${agent.inbox.queued}</span>` : null}</button>`)}
    </div>
    <div id="tab-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`} tabindex="0">
      ${tab === "log" ? html`<${Log} key=${agent.name} name=${agent.name} />` : null}
      ${tab === "mail" ? html`<${Mailbox} agent=${agent} />` : null}
      ${tab === "rounds" ? html`<${Rounds} query=${`agent=${encodeURIComponent(agent.name)}`} of=${agent.rounds_completed} />` : null}
      ${tab === "events" ? html`<${Events} name=${agent.name} />` : null}
    </div>
  </article>`;
}

function moveTab(event, tab) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const index = (TABS.findIndex(([key]) => key === tab) + step + TABS.length) % TABS.length;
  filter({ tab: TABS[index][0] });
  document.getElementById(`tab-${TABS[index][0]}`).focus();
}

function Doing({ agent }) {
  if (agent.current_task) {
    return html`<p class="agent-now"><${Icon} name="bolt" size="16" /><${Link} to=${{ view: "task", id: agent.current_task }}>${agent.task_title || shortId(agent.current_task)}<//></p>
      ${agent.state === "working" && agent.words ? html`<p class="agent-words">${agent.words}</p>` : null}`;
  }
  return agent.activity ? html`<p class="agent-now quiet">${agent.activity}</p>` : null;
}

function Steer({ agent }) {
  const halted = ["paused", "stopped", "drained"].includes(agent.desired_state) || agent.state === "error";
  return html`<div class="actions">
    ${halted
      ? html`<${Action} class="primary" run=${() => api.resume(agent.name)} done=${`${agent.name} resumes`}><${Icon} name="play" size="16" />Resume<//>`
      : html`<${Action} run=${() => api.interrupt(agent.name, {})} done="It pauses after its round"><${Icon} name="pause" size="16" />Pause<//>
          ${agent.state === "working" ? html`<${Action} run=${() => api.interrupt(agent.name, { now: true })} done="Interrupted">Interrupt now<//>` : null}`}
    <${Action} run=${() => api.restart(agent.name)} confirm="End its round and restart?" done="Restarted"><${Icon} name="restart" size="16" />Restart<//>
    ${agent.desired_state === "running" ? html`<${Action} run=${() => api.close(agent.name)} done="It finishes its work, then stops">Close<//>` : null}
    ${agent.desired_state === "stopped" ? null : html`<${Action} class="danger" confirm="Stop it now?" run=${() => api.kill(agent.name, { now: true })} done="Stopped"><${Icon} name="stop" size="16" />Stop<//>`}
    ${agent.state === "stopped" ? html`<${Action} class="danger" confirm="Remove for good?" run=${() => api.removeAgent(agent.name)} done="Removed">Remove<//>` : null}
  </div>`;
}

const KINDS = [["task", "Order"], ["query", "Question"], ["info", "Information"]];

function SendBox({ agent }) {
  const [text, setText] = useState("");
  const [kind, setKind] = useState("assign");
  const [urgent, setUrgent] = useState(false);
  const send = async () => {
    if (kind === "assign") await api.addTask({ description: text, agent: agent.name, priority: urgent ? "urgent" : "normal" });
    else await api.send({ to: agent.name, message: text, kind, urgent });
    setText("");
    setUrgent(false);
  };
  const key = (event) => event.key === "Enter" && (event.metaKey || event.ctrlKey) && text.trim() && event.currentTarget.form.requestSubmit();
  return html`<form class="send-box" onSubmit=${(event) => { event.preventDefault(); event.currentTarget.querySelector(".primary").click(); }}>
    <label class="visually-hidden" for="send-text">Message to ${agent.name}</label>
    <textarea id="send-text" rows="2" placeholder=${`Give ${agent.name} a task, or write to it…`} value=${text} onInput=${(event) => setText(event.target.value)} onKeyDown=${key}></textarea>
    <div class="send-row">
      <label class="select"><span class="visually-hidden">Kind</span><select value=${kind} onChange=${(event) => setKind(event.target.value)}>
        <option value="assign">Task</option>${KINDS.map(([value, title]) => html`<option key=${value} value=${value}>${title}</option>`)}</select></label>
      <label class="check"><input type="checkbox" checked=${urgent} onChange=${(event) => setUrgent(event.target.checked)} />Urgent</label>
      <kbd>Ctrl</kbd><kbd>Enter</kbd>
      <${Action} class="primary" disabled=${!text.trim()} run=${send} done="Sent"><${Icon} name="send" size="16" />Send<//>
    </div>
  </form>`;
}

function Log({ name }) {
  const [lines, setLines] = useState([]);
  const [follows, setFollows] = useState(true);
  const [isLost, setLost] = useState(false);
  const box = useRef(null);
  useEffect(() => {
    let fresh = true;
    const source = new EventSource(path`/v1/agents/${name}/log/stream?lines=500`);
    source.addEventListener("open", () => { fresh = true; setLost(false); });
    source.addEventListener("error", () => setLost(true));
    source.addEventListener("lines", (event) => {
      const added = JSON.parse(event.data);
      const begins = fresh;
      fresh = false;
      setLines((old) => (begins ? added : [...old, ...added]).slice(-LINES_KEPT));
    });
    return () => source.close();
  }, [name]);
  useLayoutEffect(() => {
    if (follows && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, follows]);
  const scroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    setFollows(scrollHeight - scrollTop - clientHeight < 24);
  };
  return html`<section class="log" aria-label="Live log">
    <div class="log-bar"><span class=${cx("live-dot", isLost && "is-lost")}></span>${isLost ? "reconnecting…" : "live"}
      <label class="check"><input type="checkbox" checked=${follows} onChange=${(event) => setFollows(event.target.checked)} />Follow</label></div>
    <pre ref=${box} class="log-lines" tabindex="0" onScroll=${scroll}>${lines.length
      ? lines.map((line, index) => html`<div key=${index} class=${lineClass(line)}>${line || "\u00a0"}</div>`)
      : html`<div class="quiet">This machine has no log of it yet. Its rounds appear here as they run.</div>`}</pre>
  </section>`;
}

function lineClass(line) {
  return /^(#|---|===)/.test(line) || / (begins|ends) /.test(line.slice(0, 80)) ? "log-mark" : "";
}

function Mailbox({ agent }) {
  const [found, error, again] = useRequest(() => get(path`/v1/agents/${agent.name}/inbox?limit=200`), `${agent.name} ${JSON.stringify(agent.inbox)}`);
  if (error) return html`<${Problem} error=${error} />`;
  if (!found) return html`<div aria-busy="true"></div>`;
  if (!found.messages.length) return html`<p class="quiet">No mail waits for ${agent.name}.</p>`;
  return html`<ol class="mail">${found.messages.map((message) => html`<${Message} key=${message.id} message=${message} agent=${agent} again=${again} />`)}</ol>`;
}

function Message({ message, agent, again }) {
  const [isOpen, toggle] = useState(false);
  return html`<li class="card message">
    <header><span class=${`priority priority-${message.priority}`}>${message.priority}</span><strong>${message.type}</strong>
      <span class="quiet">from ${message.from}, ${message.place}${message.deliveries ? `, delivered ${message.deliveries} ×` : ""}</span><${Ago} at=${message.created_at} /></header>
    <pre class="text">${message.text}</pre>
    <div class="actions">
      ${message.task_id ? html`<${Link} class="button" to=${{ view: "task", id: message.task_id }}>Task<//>` : null}
      <button class="button" aria-expanded=${isOpen} onClick=${() => toggle(!isOpen)}>Where it has been</button>
      ${message.place === "queued" ? html`<${Action} class="danger" confirm="Delete it?" run=${async () => { await api.removeMessage(agent.name, message.id); again(); }} done="Deleted">Delete<//>` : null}
    </div>
    ${isOpen ? html`<${Trace} id=${message.id} />` : null}
  </li>`;
}

function Trace({ id }) {
  const [found, error] = useRequest(() => get(path`/v1/messages/${id}/trace`), id);
  if (error) return html`<${Problem} error=${error} />`;
  return html`<ol class="trace">${(found?.steps ?? []).map((step, index) => html`<li key=${index}><time>${clock(step.at)}</time> ${step.what}</li>`)}</ol>`;
}

function Events({ name }) {
  const latest = useLive((live) => live.events.findLast((event) => event.agent === name)?.id ?? "");
  const [found, error] = useRequest(() => get(`/v1/events?limit=1000&agent=${encodeURIComponent(name)}`), `${name} ${latest}`);
  const [kept, keep] = useState(null);
  useEffect(() => { if (found) keep(found); }, [found]);
  if (error) return html`<${Problem} error=${error} />`;
  const events = (found ?? kept)?.events ?? [];
  return html`<ol class="feed-list">${[...events].reverse().map((event) => html`<${FeedLine} key=${event.id} event=${event} />`)}</ol>`;
}
