// Small parts that every view uses.
import { html, cx, memo, useEffect, useReducer, useRef, useState } from "./ui.js";
import { clock, duration, hue, initials, tone } from "./format.js";
import { now, set, useLive } from "./live.js";
import { href, go } from "./router.js";

// -- pictures

const PATHS = {
  now: "M3 12l9-8 9 8M5 10v10h5v-6h4v6h5V10",
  board: "M4 5h4v14H4zM10 5h4v9h-4zM16 5h4v12h-4z",
  history: "M12 7v5l3 2M4 12a8 8 0 108-8 8 8 0 00-6.500 3.300M4 4v4h4",
  search: "M11 4a7 7 0 105 12l5 5M16 16a7 7 0 00-5-12",
  sun: "M12 8a4 4 0 110 8 4 4 0 010-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2",
  moon: "M20 14a8 8 0 01-10-10 8 8 0 1010 10z",
  auto: "M12 3v18a9 9 0 000-18zM12 3a9 9 0 100 18",
  plus: "M12 5v14M5 12h14",
  send: "M4 12l16-8-6 16-3-7zM11 13l9-9",
  close: "M6 6l12 12M18 6L6 18",
  pause: "M8 5v14M16 5v14",
  play: "M7 5l12 7-12 7z",
  stop: "M6 6h12v12H6z",
  restart: "M20 12a8 8 0 11-2.300-5.700M20 4v4h-4",
  mail: "M3 6h18v12H3zM3 7l9 6 9-6",
  coins: "M12 4c4 0 7 1.300 7 3s-3 3-7 3-7-1.300-7-3 3-3 7-3zM5 7v5c0 1.700 3 3 7 3s7-1.300 7-3V7M5 12v5c0 1.700 3 3 7 3s7-1.300 7-3v-5",
  bolt: "M13 3L5 14h6l-1 7 8-11h-6z",
  check: "M5 13l4 4L19 7",
  graph: "M6 6h4v4H6zM14 14h4v4h-4zM6 14h4v4H6zM10 8h4a2 2 0 012 2v4M8 10v4",
  snow: "M12 3v18M4 7.500l16 9M20 7.500l-16 9",
  alert: "M12 4l9 16H3zM12 10v4M12 17v.5",
  server: "M4 5h16v6H4zM4 13h16v6H4zM7 8h.1M7 16h.1",
  keyboard: "M3 7h18v10H3zM7 11h.1M11 11h.1M15 11h.1M8 14h8",
  back: "M15 6l-6 6 6 6",
};

export function Icon({ name, path = PATHS[name], size = 18 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 24 24" aria-hidden="true"><path d=${path} /></svg>`;
}

export function Logo() {
  return html`<svg class="logo" width="26" height="26" viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="9" class="logo-ground" />
    <path d="M5 25V15l5-4 5 4v10zM17 25V11l5-4 5 4v14z" class="logo-house" />
    <path d="M8.500 18h3v3h-3zM20.500 14h3v3h-3zM20.500 19h3v3h-3z" class="logo-window" />
  </svg>`;
}

export const Avatar = memo(({ name, size = 28 }) => {
  const style = { "--hue": hue(name), width: `${size}px`, height: `${size}px`, fontSize: `${Math.round(size * 0.38)}px` };
  return html`<span class="avatar" style=${style} aria-hidden="true">${initials(name)}</span>`;
});

// -- words

export const State = memo(({ state: name, label }) => html`<span class=${cx("state", `tone-${tone(name)}`)}><i></i>${label ?? name}</span>`);

/** The time now, again and again, for what shows ages. */
function useClock() {
  const [, tick] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    clocks.add(tick);
    return () => clocks.delete(tick);
  }, []);
}
const clocks = new Set();
setInterval(() => !document.hidden && clocks.forEach((tick) => tick()), 5000);

/** How long ago something was. */
export function Ago({ at, prefix = "" }) {
  useClock();
  if (!at) return null;
  return html`<time datetime=${at} title=${clock(at)}>${prefix}${duration((now() - Date.parse(at)) / 1000)}</time>`;
}

export function Empty({ title, children }) {
  return html`<div class="empty"><${Logo} /><h3>${title}</h3><p>${children}</p></div>`;
}

export function Problem({ error }) {
  return html`<p class="problem" role="alert">${error.message}${error.hint ? html`<small>${error.hint}</small>` : null}</p>`;
}

/** A link within the page. */
export function Link({ to, children, ...rest }) {
  const follow = (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to);
  };
  return html`<a href=${href(to)} onClick=${follow} ...${rest}>${children}</a>`;
}

export function AgentLink({ name, size = 20 }) {
  return html`<${Link} to=${{ view: "agent", name }} class="agent-link"><${Avatar} name=${name} size=${size} /><span>${name}</span><//>`;
}

// -- doing things

let toasts = [];
let toastNumber = 0;
const toastReaders = new Set();

function showToasts(list) {
  toasts = list;
  toastReaders.forEach((draw) => draw());
}

/** Say something for a moment; errors stay until they are closed. */
export function toast(text, { hint = "", bad = false } = {}) {
  const entry = { key: ++toastNumber, text, hint, bad };
  showToasts([...toasts.slice(-3), entry]);
  if (!bad) setTimeout(() => dropToast(entry.key), 4000);
}

function dropToast(key) {
  showToasts(toasts.filter((entry) => entry.key !== key));
}

export function Toasts() {
  const [, draw] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    toastReaders.add(draw);
    return () => toastReaders.delete(draw);
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.map(
      (entry) => html`<div key=${entry.key} class=${cx("toast", entry.bad && "is-bad")}>
        <${Icon} name=${entry.bad ? "alert" : "check"} />
        <span>${entry.text}${entry.hint ? html`<small>${entry.hint}</small>` : null}</span>
        <button class="ghost" aria-label="Close" onClick=${() => dropToast(entry.key)}><${Icon} name="close" size="16" /></button>
      </div>`,
    )}
  </div>`;
}

/** Do something and say how it went. Resolves to whether it was done. */
export async function attempt(action, done = "") {
  try {
    await action();
  } catch (error) {
    toast(error.message, { hint: error.hint, bad: true });
    return false;
  }
  if (done) toast(done);
  return true;
}

/** A button that is busy until its action has ended. */
export function Action({ run, done, children, class: name = "", confirm = "", disabled = false, ...rest }) {
  const [busy, setBusy] = useState(false);
  const [asking, setAsking] = useState(false);
  const alive = useRef(true);
  useEffect(() => () => { alive.current = false; }, []);
  const act = async () => {
    if (confirm && !asking) {
      setAsking(true);
      setTimeout(() => alive.current && setAsking(false), 4000);
      return;
    }
    setBusy(true);
    await attempt(run, done);
    if (alive.current) {
      setBusy(false);
      setAsking(false);
    }
  };
  return html`<button type="button" class=${cx("button", name, asking && "is-asking")} disabled=${busy || disabled} aria-busy=${busy} onClick=${act} ...${rest}>
    ${asking ? confirm : children}
  </button>`;
}

// -- dialogs: one at a time, on the state of the page

export function open(dialog) {
  set({ dialog });
}

export function Dialog({ title, children, class: name = "", onClose = () => open(null) }) {
  const element = useRef(null);
  useEffect(() => {
    const shown = element.current;
    if (!shown.open) shown.showModal();
    return () => shown.open && shown.close();
  }, []);
  return html`<dialog ref=${element} class=${cx("dialog", name)} aria-label=${title}
      onCancel=${(event) => { event.preventDefault(); onClose(); }}
      onMouseDown=${(event) => event.target === element.current && onClose()}>
    <div class="dialog-body">
      <header><h2>${title}</h2><button class="ghost" aria-label="Close" onClick=${onClose}><${Icon} name="close" /></button></header>
      ${children}
    </div>
  </dialog>`;
}

/** What a request answers: [value, error, ask again]. Asked when `key` changes. */
export function useRequest(request, key) {
  const [found, setFound] = useState({ key: null, value: null, error: null });
  const [turn, again] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    let wanted = true;
    request().then(
      (value) => wanted && setFound({ key, value, error: null }),
      (error) => wanted && setFound((old) => ({ key, value: old.key === key ? old.value : null, error })),
    );
    return () => { wanted = false; };
  }, [key, turn]);
  return [found.key === key ? found.value : null, found.key === key ? found.error : null, again];
}

/** How many of a long list are drawn, and the ref of an element after it: more are drawn as that comes near. */
export function useMore(total, step) {
  const [count, setCount] = useState(step);
  const end = useRef(null);
  useEffect(() => {
    if (!end.current) return undefined;
    const near = (entries) => entries.some((entry) => entry.isIntersecting) && setCount((old) => old + step);
    const watch = new IntersectionObserver(near, { rootMargin: "800px" });
    watch.observe(end.current);
    return () => watch.disconnect();
  }, [total > count, count]);
  return [count, html`${total > count ? html`<div ref=${end} class="more" aria-hidden="true"></div>` : null}`];
}

export function useTitle(title) {
  const town = useLive((live) => live.town?.town ?? "Tinytown");
  useEffect(() => { document.title = `${title} · ${town}`; }, [title, town]);
}

