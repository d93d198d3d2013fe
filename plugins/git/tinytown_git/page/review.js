// Review: what agents have submitted, and one piece of work with its changes, checks and result side by side.
import { html, cx, useEffect, useState } from "/ui.js";
import { get, path, post } from "/api.js";
import { clock, counted, shortId } from "/format.js";
import { useLive } from "/live.js";
import { Action, Ago, AgentLink, Empty, Icon, Link, Problem, State, useMore, useRequest, useTitle } from "/parts.js";

const TONES = { proposed: "assigned", review: "paused", queued: "assigned", merging: "running", merged: "completed", accepted: "completed", refused: "failed" };
const NAMES = { proposed: "proposed as a pull request", review: "waits for a review", queued: "waits to be merged", merging: "is being merged", merged: "merged", accepted: "accepted", refused: "sent back" };
const LINES_AT_ONCE = 400;

export function View({ id }) {
  return html`<link rel="stylesheet" href="/extensions/git/review.css" />${id ? html`<${Work} id=${id} key=${id} />` : html`<${List} />`}`;
}

function useKept(value) {
  const [kept, keep] = useState(null);
  useEffect(() => { if (value) keep(value); }, [value]);
  return value ?? kept;
}

const Stage = ({ stage }) => html`<${State} state=${TONES[stage]} label=${NAMES[stage]} />`;

// -- all of it

function List() {
  useTitle("Review");
  const changes = useLive((live) => live.events.findLast((event) => event.type.startsWith("git_") || event.type === "plugin_data_changed")?.id ?? "");
  const [found, error] = useRequest(() => get("/v1/reviews"), changes);
  const shown = useKept(found);
  if (error && !shown) return html`<div class="page"><${Problem} error=${error} /></div>`;
  if (!shown) return html`<div class="page" aria-busy="true"></div>`;
  return html`<div class="page">
    <header class="page-head"><h1>Review</h1></header>
    ${shown.notice ? html`<p class="callout is-warn"><strong>Merge queue:</strong> ${shown.notice}</p>` : null}
    <section><h2>Waiting <span class="count">${shown.waiting.length}</span></h2>
      ${shown.waiting.length
        ? html`<${Rows} works=${shown.waiting} />`
        : html`<${Empty} title="No work to review">Work that agents finish appears here, with its changes and checks.<//>`}</section>
    ${shown.settled.length ? html`<section><h2>Settled lately</h2><${Rows} works=${shown.settled} /></section>` : null}
  </div>`;
}

function Rows({ works }) {
  return html`<ul class="review-rows">${works.map((work) => html`<li key=${work.task} class="review-row">
    <${Link} to=${{ view: "review", id: work.task }} class="card-cover" aria-label=${`Review ${work.title}`} />
    <${Stage} stage=${work.stage} />
    <strong>${work.title}</strong>
    <${AgentLink} name=${work.agent} />
    <${Checks} checks=${work.checks} />
    <code>${work.target}</code>
    <${Ago} at=${work.since} />
  </li>`)}</ul>`;
}

function Checks({ checks }) {
  if (!checks.length) return null;
  const failed = checks.filter((check) => !check.passed).length;
  return html`<span class=${cx("state", failed ? "tone-bad" : "tone-good")}><i></i>${failed ? `${counted(failed, "check")} failed` : counted(checks.length, "check")}</span>`;
}

// -- one piece

function Work({ id }) {
  useTitle("Review");
  const changes = useLive((live) => live.events.findLast((event) => event.task?.startsWith(id))?.id ?? "");
  const [found, error, again] = useRequest(() => get(path`/v1/reviews/${id}`), `${id} ${changes}`);
  const shown = useKept(found);
  if (error && !shown) return html`<div class="page"><${Problem} error=${error} /><${Link} class="button" to=${{ view: "review" }}>All reviews<//></div>`;
  if (!shown) return html`<div class="page" aria-busy="true"></div>`;
  const { work } = shown;
  return html`<article class="page task-page">
    <header class="page-head">
      <div class="crumbs"><${Link} to=${{ view: "review" }}><${Icon} name="back" size="16" />Review<//> <code>${shortId(shown.task)}</code></div>
      <h1>${shown.title}</h1>
      <div class="meta">
        ${work ? html`<${Stage} stage=${work.stage} /><${Ago} at=${work.since} prefix="for " />` : html`<${State} state=${shown.state} /><span class="quiet">not submitted yet</span>`}
        ${work || shown.agent ? html`<${AgentLink} name=${work?.agent ?? shown.agent} />` : null}
        ${work ? html`<code title=${work.branch}>${work.branch.replace(work.task, shortId(work.task))} → ${work.target}</code>` : null}
        <${Link} to=${{ view: "task", id: shown.task }}>Task<//>
      </div>
      ${work?.stage === "review" ? html`<${Decide} work=${work} again=${again} />` : null}
    </header>
    ${work?.reason ? html`<p class="callout"><strong>Reason:</strong> ${work.reason}</p>` : null}
    <div class="task-columns review-columns">
      <${Diff} diff=${shown.diff} files=${shown.files} isCut=${shown.is_cut} />
      <aside>
        ${work?.checks.length ? html`<section><h2>Checks</h2>${work.checks.map((check) => html`<details key=${check.name} class="check" open=${!check.passed}>
            <summary><${State} state=${check.passed ? "completed" : "failed"} label=${`${check.name}: ${check.passed ? "passed" : "failed"}`} /><small>${check.duration_s.toFixed(1)} s</small></summary>
            <pre class="text">${check.output || "no output"}</pre></details>`)}</section>` : null}
        ${shown.result ? html`<section><h2>Result</h2><pre class="text">${shown.result}</pre></section>` : null}
        ${shown.rejection ? html`<p class="callout is-warn"><strong>Sent back before:</strong> ${shown.rejection}</p>` : null}
        <section><h2>Description</h2><pre class="text">${shown.description}</pre></section>
        ${work?.reviews.length ? html`<section><h2>Reviews</h2><ul class="needs-of">${work.reviews.map((review) => html`<li key=${review.at + review.by}>
            <${State} state=${review.approved ? "completed" : "failed"} label=${review.approved ? "approved" : "rejected"} /> by ${review.by}, ${clock(review.at)}${review.reason ? html`: ${review.reason}` : null}</li>`)}</ul></section>` : null}
        ${shown.commits.length ? html`<section><h2>Commits</h2><ul class="needs-of">${shown.commits.map((commit) => html`<li key=${commit.commit}><code>${shortId(commit.commit)}</code> ${commit.subject} <small>${commit.author}</small></li>`)}</ul></section>` : null}
      </aside>
    </div>
  </article>`;
}

function Decide({ work, again }) {
  const [reason, setReason] = useState("");
  const say = (verdict) => async () => {
    await post(path`/v1/reviews/${work.task}/` + verdict, { reason: reason.trim(), commit: work.commit });
    setReason("");
    again();
  };
  return html`<form class="reply" onSubmit=${(event) => event.preventDefault()}>
    <label class="visually-hidden" for="review-reason">Your words to ${work.agent}</label>
    <textarea id="review-reason" rows="2" placeholder=${`What has to change, for ${work.agent}…`} value=${reason} onInput=${(event) => setReason(event.target.value)}></textarea>
    <div class="actions">
      <${Action} class="primary" run=${say("approve")} done="Approved">Approve<//>
      <${Action} class="danger" disabled=${!reason.trim()} run=${say("reject")} done="Sent back">Reject<//>
    </div>
  </form>`;
}

// -- the changes

/** A patch as its files, each with its lines. */
function filesOf(diff) {
  const found = [];
  for (const line of diff.split("\n")) {
    if (line.startsWith("diff --git ")) found.push({ head: [line], lines: [] });
    else if (found.length && !found.at(-1).lines.length && !line.startsWith("@@")) found.at(-1).head.push(line);
    else found.at(-1)?.lines.push(line);
  }
  return found;
}

function nameOf(file) {
  const line = file.head.findLast((each) => each.startsWith("+++ ") && each !== "+++ /dev/null") ?? file.head.findLast((each) => each.startsWith("--- "));
  return line ? line.slice(4).replace(/^"?[ab]\//, "").replace(/"$/, "") : file.head[0].slice("diff --git a/".length).split(" b/")[0];
}

function Diff({ diff, files, isCut }) {
  const parts = filesOf(diff);
  const added = files.reduce((sum, file) => sum + (file.added ?? 0), 0);
  const removed = files.reduce((sum, file) => sum + (file.removed ?? 0), 0);
  return html`<section class="diff" aria-label="Changes">
    <h2>${counted(files.length, "file")} changed <span class="diff-count"><ins>+${added}</ins> <del>−${removed}</del></span></h2>
    ${parts.length ? parts.map((file, index) => html`<${File} key=${`${index} ${file.head[0]}`} file=${file} />`) : html`<p class="quiet">Nothing was changed.</p>`}
    ${isCut ? html`<p class="callout is-warn">The rest is not shown: tt diff in a terminal has all of it.</p>` : null}
  </section>`;
}

const KINDS = { "+": "added", "-": "removed", "@": "place" };

function File({ file }) {
  const [count, more] = useMore(file.lines.length, LINES_AT_ONCE);
  const note = file.head.find((each) => /^(new|deleted) file|^rename|^Binary/.test(each));
  return html`<details class="diff-file" open>
    <summary><code>${nameOf(file)}</code>${note ? html`<small>${note.replace(/ mode \d+$/, "")}</small>` : null}</summary>
    <pre tabindex="0" aria-label=${`Changes of ${nameOf(file)}`}>${file.lines.slice(0, count).map((line, index) => html`<span key=${index} class=${cx("diff-line", KINDS[line[0]])}>${line || " "}\n</span>`)}</pre>
    ${more}
  </details>`;
}
