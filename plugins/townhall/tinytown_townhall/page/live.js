// The town as this page knows it: a picture by server-sent events, then what changes. One object, read through `useLive`.
import { useEffect, useReducer, useRef } from "./ui.js";
import { get } from "./api.js";

const EVENTS_KEPT = 300;
const RETRY_MS = [500, 1000, 2000, 5000];
const OPEN_STATES = ["pending", "blocked", "assigned", "running", "verifying"];
const ENDED_STATES = ["completed", "failed", "cancelled"];
const ENDED_SHOWN = 200;

export const state = {
  session: null,
  /** "connecting", "open", or "lost". */
  connection: "connecting",
  town: null,
  agents: [],
  tasks: [],
  tasksLoaded: false,
  attention: [],
  /** Views that plugins add. */
  panels: [],
  events: [],
  theme: document.documentElement.dataset.theme,
  /** The dialog that is open, if one is. */
  dialog: null,
  /** How far the town's clock is ahead of ours, in ms. */
  ahead: 0,
};

const agents = new Map();
const tasks = new Map();
const readers = new Set();
let source = null;
let attempt = 0;
let timer = 0;
let wantsTasks = false;

// A silent connection is dead, even without an error: there is a beat every 20 s.
const SILENCE_MS = 50_000;
let heard = Date.now();
setInterval(() => {
  if (source?.readyState === EventSource.OPEN && Date.now() - heard > SILENCE_MS) source.onerror();
}, 5000);

function changed() {
  for (const reader of [...readers]) reader();
}

export function set(values) {
  Object.assign(state, values);
  changed();
}

/** What `select` takes from the state; the component is drawn again when that is another value. */
export function useLive(select) {
  const [, draw] = useReducer((count) => count + 1, 0);
  const current = useRef(null);
  current.current = { select, value: select(state) };
  useEffect(() => {
    const read = () => {
      if (current.current.select(state) !== current.current.value) draw();
    };
    readers.add(read);
    read();
    return () => readers.delete(read);
  }, []);
  return current.current.value;
}

/** The town's clock, in ms. */
export function now() {
  return Date.now() + state.ahead;
}

export function agentNamed(name) {
  return state.agents.find((agent) => agent.name === name || agent.id === name);
}

export function taskWithId(id) {
  return tasks.get(id);
}

// -- the connection

export function connect() {
  source?.close();
  clearTimeout(timer);
  source = new EventSource("/v1/live");
  source.addEventListener("town", (event) => take(JSON.parse(event.data), true));
  source.addEventListener("change", (event) => take(JSON.parse(event.data), false));
  source.addEventListener("beat", () => { heard = Date.now(); });
  source.onopen = () => { heard = Date.now(); };
  source.onerror = () => {
    source.close();
    set({ connection: "lost" });
    const delay = RETRY_MS[Math.min(attempt++, RETRY_MS.length - 1)];
    timer = setTimeout(async () => {
      try {
        const session = await get("/v1/session");
        if (session.principal === null) return set({ session, connection: "lost" });
      } catch {
        // still away
      }
      connect();
    }, delay);
  };
}

export function disconnect() {
  source?.close();
  clearTimeout(timer);
}

function take(picture, whole) {
  heard = Date.now();
  if (whole) {
    attempt = 0;
    agents.clear();
    state.events = [];
  }
  for (const row of picture.agents ?? []) agents.set(row.id, row);
  for (const id of picture.gone_agents ?? []) agents.delete(id);
  for (const row of picture.tasks ?? []) tasks.set(row.id, row);
  for (const id of picture.gone_tasks ?? []) tasks.delete(id);
  const events = picture.events ?? [];
  const values = { town: picture.town, connection: "open", ahead: Date.parse(picture.town.now) - Date.now() };
  if (whole || picture.agents || picture.gone_agents) values.agents = [...agents.values()];
  if (picture.tasks || picture.gone_tasks) values.tasks = [...tasks.values()];
  if (picture.attention) values.attention = picture.attention;
  if (whole) values.attention = picture.attention ?? [];
  if (events.length) values.events = [...state.events, ...events].slice(-EVENTS_KEPT);
  set(values);
  if (whole && wantsTasks) loadTasks();
}

// -- tasks, which only the board needs

async function pages(query, limit) {
  let cursor = "";
  let count = 0;
  do {
    const page = await get(`/v1/task-rows?state=${query}&limit=${Math.min(limit, 1000)}&cursor=${encodeURIComponent(cursor)}`);
    for (const row of page.tasks) tasks.set(row.id, row);
    count += page.tasks.length;
    cursor = page.next;
  } while (cursor && count < limit);
}

/** Read all open tasks, and the latest that have ended; from then on they are kept current. */
export async function loadTasks() {
  wantsTasks = true;
  tasks.clear();
  await Promise.all([
    ...OPEN_STATES.map((name) => pages(name, 20_000)),
    ...ENDED_STATES.map((name) => pages(name, ENDED_SHOWN)),
  ]);
  set({ tasks: [...tasks.values()], tasksLoaded: true });
}

addEventListener("online", () => state.connection === "lost" && connect());
addEventListener("pagehide", disconnect);
addEventListener("pageshow", (event) => event.persisted && connect());
