// Requests to the townhall. An error is an `ApiError` with the code, the sentence and the hint of its problem.

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `the townhall answered with status ${status}`);
    this.status = status;
    this.code = problem.code ?? "failed";
    this.hint = problem.hint ?? "";
  }
}

async function ask(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch {
    throw new ApiError(0, { code: "offline", detail: "the townhall cannot be reached", hint: "is tt townhall still running?" });
  }
  if (response.status === 204) return null;
  const text = await response.text();
  let value = {};
  try {
    value = JSON.parse(text);
  } catch {
    // not ours: a proxy's
  }
  if (!response.ok) throw new ApiError(response.status, value);
  return value;
}

export const get = (path) => ask("GET", path);
export const post = (path, body = {}) => ask("POST", path, body);
export const patch = (path, body) => ask("PATCH", path, body);
export const remove = (path) => ask("DELETE", path);

/** A path with its parts escaped: path`/v1/agents/${name}/log`. */
export function path(strings, ...parts) {
  return strings.reduce((whole, text, index) => whole + encodeURIComponent(parts[index - 1]) + text);
}
