// Everything that this page can change, by name.
import { path, post, patch, remove } from "./api.js";

export const api = {
  spawn: (agent) => post("/v1/agents", agent),
  resume: (name) => post(path`/v1/agents/${name}/resume`),
  interrupt: (name, at) => post(path`/v1/agents/${name}/interrupt`, at),
  close: (name) => post(path`/v1/agents/${name}/close`),
  kill: (name, at) => post(path`/v1/agents/${name}/kill`, at),
  restart: (name) => post(path`/v1/agents/${name}/restart`),
  removeAgent: (name) => remove(path`/v1/agents/${name}`),
  send: (message) => post("/v1/messages", message),
  removeMessage: (agent, id) => remove(path`/v1/agents/${agent}/inbox/${id}`),
  freeze: (reason) => post("/v1/town/freeze", { reason }),
  thaw: () => post("/v1/town/thaw"),
  start: () => post("/v1/town/start"),
  unpark: (account) => post(path`/v1/accounts/${account}/release`),
  addTask: (task) => post("/v1/tasks", task),
  changeTask: (id, changes) => patch(path`/v1/tasks/${id}`, changes),
  deleteTask: (id) => remove(path`/v1/tasks/${id}`),
  assign: (id, agent) => post(path`/v1/tasks/${id}/assign`, { agent }),
  requeue: (id) => post(path`/v1/tasks/${id}/requeue`),
  hold: (id, reason) => post(path`/v1/tasks/${id}/hold`, { reason }),
  complete: (id, result) => post(path`/v1/tasks/${id}/complete`, { result }),
  fail: (id, reason) => post(path`/v1/tasks/${id}/fail`, { reason }),
};

/** What a person decides. */
export const decide = {
  answer: (message, text, kind) => post(path`/v1/inbox/${message}/answer`, { text, kind }),
  dismiss: (message) => remove(path`/v1/agents/supervisor/inbox/${message}`),
  release: (id) => post(path`/v1/tasks/${id}/release`),
  cancel: (id, reason = "") => post(path`/v1/tasks/${id}/cancel`, { reason }),
  reopen: (id, reason = "") => post(path`/v1/tasks/${id}/reopen`, { reason }),
  redrive: (id) => post(path`/v1/dead-letters/${id}/redrive`),
  drop: (id) => remove(path`/v1/dead-letters/${id}`),
};
