// The page: signs in, connects, and shows the view that its address names.
import { html, cx, render, useEffect, useState } from "./ui.js";
import { get, post } from "./api.js";
import { connect, set, state, useLive } from "./live.js";
import { Dialogs } from "./dialogs.js";
import { Action, Ago, Icon, Link, Logo, Problem, Toasts, open } from "./parts.js";
import { go, usePlace } from "./router.js";
import { nextTheme } from "./theme-choice.js";
import { api } from "./actions.js";
import { Agent } from "./views/agent.js";
import { Board } from "./views/board.js";
import { History } from "./views/history.js";
import { Now } from "./views/now.js";
import { Task } from "./views/task.js";

const VIEWS = [["now", "Now"], ["board", "Board"], ["history", "History"]];

function Shell() {
  const session = useLive((live) => live.session);
  const town = useLive((live) => live.town);
  const connection = useLive((live) => live.connection);
  if (session && session.principal === null) return html`<${SignIn} />`;
  if (!town) return html`<div class="splash" aria-busy="true"><${Logo} /><p role="status">${connection === "lost" ? "The townhall does not answer. Trying again…" : "Connecting…"}</p></div>`;
  return html`<div class="shell">
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>Skip to the content</a>
    <${Side} /><div class="shell-main"><${Bars} /><main id="main" tabindex="-1"><${View} /></main></div>
    <${Dialogs} /><${Toasts} />
  </div>`;
}

function View() {
  const place = usePlace();
  switch (place.view) {
    case "agent": return html`<${Agent} name=${place.name} key=${place.name} />`;
    case "task": return html`<${Task} id=${place.id} key=${place.id} />`;
    case "board": return html`<${Board} />`;
    case "history": return html`<${History} />`;
    default: return html`<${PluginView} place=${place} />`;
  }
}

// -- views of plugins

const modules = new Map();

function PluginView({ place }) {
  const panel = useLive((live) => live.panels.find((each) => each.view === place.view));
  const [loaded, setLoaded] = useState({});
  useEffect(() => {
    if (!panel) return;
    if (!modules.has(panel.module)) modules.set(panel.module, import(panel.module));
    modules.get(panel.module).then(({ View }) => setLoaded({ view: panel.view, View }), (error) => setLoaded({ view: panel.view, error }));
  }, [panel]);
  if (!panel) return html`<${Now} />`;
  if (loaded.view !== panel.view) return html`<div class="page" aria-busy="true"></div>`;
  if (loaded.error) return html`<div class="page"><${Problem} error=${{ message: `The view ${panel.title} cannot be loaded: ${loaded.error.message}` }} /></div>`;
  return html`<${loaded.View} id=${place.id} />`;
}

function Side() {
  const place = usePlace();
  const town = useLive((live) => live.town);
  const waiting = useLive((live) => live.attention.length);
  const theme = useLive((live) => live.theme);
  const panels = useLive((live) => live.panels);
  const at = { agent: "now", task: "board" }[place.view] ?? place.view;
  return html`<header class="side">
    <${Link} to=${{ view: "now" }} class="brand"><${Logo} /><span><strong>${town.town}</strong><small>Tinytown</small></span><//>
    <nav aria-label="Views">${VIEWS.map(([view, title]) => html`<${Link} key=${view} to=${{ view }} aria-current=${view === at ? "page" : undefined}>
      <${Icon} name=${view} /><span>${title}</span>${view === "now" && waiting ? html`<span class="count is-hot" aria-label=${`${waiting} wait for you`}>${waiting}</span>` : null}<//>`)}
      ${panels.map(({ view, title, icon }) => html`<${Link} key=${view} to=${{ view }} aria-current=${view === at ? "page" : undefined}><${Icon} path=${icon} /><span>${title}</span><//>`)}</nav>
    <div class="side-tools">
      <button class="button primary new-task" onClick=${() => open({ kind: "task" })}><${Icon} name="plus" size="16" /><span>New task</span></button>
      <button class="tool" onClick=${() => open({ kind: "palette" })}><${Icon} name="search" /><span>Commands</span><span class="keys"><kbd>Ctrl</kbd><kbd>K</kbd></span></button>
      <button class="tool" onClick=${nextTheme} aria-label=${`Theme: ${theme}. Change it`}><${Icon} name=${{ auto: "auto", light: "sun", dark: "moon" }[theme]} /><span>Theme: ${theme}</span></button>
      <${Connection} />
    </div>
  </header>`;
}

function Connection() {
  const connection = useLive((live) => live.connection);
  const hosts = useLive((live) => live.town.hosts);
  return html`<p class=${cx("connection", `is-${connection}`)} role="status"><i></i><span>${connection === "open" ? (hosts.length ? "Live" : "Live, no kernel") : "Reconnecting…"}</span></p>`;
}

function Bars() {
  const connection = useLive((live) => live.connection);
  const frozen = useLive((live) => live.town.frozen);
  const now = useLive((live) => live.town.now);
  return html`<div role="status" aria-live="polite">
    ${connection === "lost" ? html`<p class="bar-line is-warn"><${Icon} name="alert" size="16" />The connection is lost; what you see is <${Ago} at=${now} /> old. Reconnecting…</p>` : null}
    ${frozen ? html`<p class="bar-line is-cold"><${Icon} name="snow" size="16" />The town is frozen: ${frozen.reason} <${Action} run=${api.thaw} done="The town is thawed">Thaw<//></p>` : null}
  </div>`;
}

function SignIn() {
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    try {
      await begin(await post("/v1/session", { code: new FormData(event.target).get("code").trim() }));
    } catch (raised) {
      setError(raised);
    }
  };
  return html`<main class="sign-in"><${Logo} /><h1>Sign in to the town</h1>
    <p>On the machine of the town, type</p><pre>tt auth link</pre><p>and open the link that it prints. It works once. Or enter an API key:</p>
    <form class="form" onSubmit=${submit}><label>API key<input name="code" type="password" autocomplete="current-password" required /></label>
      <button class="button primary">Sign in</button></form>
    ${error ? html`<${Problem} error=${error} />` : null}</main>`;
}

// -- keys

let prefix = "";
addEventListener("keydown", (event) => {
  if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    open(state.dialog?.kind === "palette" ? null : { kind: "palette" });
    return;
  }
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (typing || event.metaKey || event.ctrlKey || event.altKey || state.dialog || !state.town) return;
  const keys = {
    "g n": () => go({ view: "now" }), "g b": () => go({ view: "board" }), "g h": () => go({ view: "history" }),
    c: () => open({ kind: "task" }), m: () => open({ kind: "send" }), t: nextTheme, "?": () => open({ kind: "help" }),
    "/": () => document.querySelector("main input[type=search]")?.focus(),
  };
  const name = prefix ? `${prefix} ${event.key}` : event.key;
  prefix = event.key === "g" && !prefix ? "g" : "";
  if (!keys[name]) return;
  event.preventDefault();
  keys[name]();
});

// -- beginning

async function begin(session) {
  set({ session });
  if (session.principal === null) return;
  connect();
  set(await get("/v1/panels"));
}

render(html`<${Shell} />`, document.getElementById("app"));

async function main() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code) {
    history.replaceState(null, "", location.pathname + location.search);
    try {
      return await begin(await post("/v1/session", { code }));
    } catch {
      // used already: perhaps this browser is signed in
    }
  }
  try {
    await begin(await get("/v1/session"));
  } catch {
    connect(); // which tries again and says so
  }
}

addEventListener("hashchange", () => location.hash.startsWith("#code=") && main());

main();
