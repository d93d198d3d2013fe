// Where the page is: a view with its parts, and filters, all of it in the address.
import { useEffect, useReducer } from "./ui.js";

const listeners = new Set();

/** The view that an address shows. */
export function parse(url) {
  const query = Object.fromEntries(url.searchParams);
  const [head = "", tail = ""] = url.pathname.split("/").filter(Boolean).map(decodeURIComponent);
  if (head === "agents" && tail) return { view: "agent", name: tail, query };
  if (head === "tasks" && tail) return { view: "task", id: tail, query };
  return head ? { view: head, id: tail || undefined, query } : { view: "now", query };
}

/** The address of a view. */
export function href({ view, name, id, query = {} }) {
  const path = { agent: `/agents/${encodeURIComponent(name)}`, task: `/tasks/${encodeURIComponent(id)}`, now: "/" }[view] ?? `/${view}${id ? `/${encodeURIComponent(id)}` : ""}`;
  const words = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  return words.size ? `${path}?${words}` : path;
}

function notify() {
  for (const draw of [...listeners]) draw();
}

export function go(place, { replace = false } = {}) {
  const address = href(place);
  if (address === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  notify();
  if (!replace) scrollTo(0, 0);
}

/** Change filters of the present view. */
export function filter(values) {
  const place = parse(new URL(location.href));
  go({ ...place, query: { ...place.query, ...values } }, { replace: true });
}

export function usePlace() {
  const [, draw] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    listeners.add(draw);
    return () => listeners.delete(draw);
  }, []);
  return parse(new URL(location.href));
}

addEventListener("popstate", notify);
