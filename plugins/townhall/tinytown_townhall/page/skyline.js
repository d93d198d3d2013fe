// The town drawn: a house for each agent, its windows lit while it works. A picture only; the list of agents says the same in words.
import { html, memo } from "./ui.js";
import { hue } from "./format.js";
import { go } from "./router.js";

const HEIGHT = 120;
const GROUND = 12;
const AT_MOST = 60;
const ORDER = { working: 0, error: 1, starting: 2, draining: 2, idle: 3, paused: 4, suspended: 5, stopped: 6 };

/** Numbers that belong to a name: always the same house for the same agent. */
function shape(name) {
  let seed = hue(name) * 7919 + name.length * 104729 + (name.codePointAt(0) ?? 0);
  const next = (most) => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return (seed >> 8) % most;
  };
  const floors = 2 + next(3);
  return { width: 26 + next(3) * 6, floors, roof: ["gable", "flat", "shed"][next(3)], chimney: next(2) === 1 };
}

const House = memo(({ name, state, x }) => {
  const { width, floors, roof, chimney } = shape(name);
  const height = floors * 16 + 8;
  const top = HEIGHT - GROUND - height;
  const columns = width > 30 ? 3 : 2;
  const gap = (width - columns * 6) / (columns + 1);
  const lit = { working: columns * floors - 1, starting: 1, draining: 2, idle: 1, error: 1, paused: 1 }[state] ?? 0;
  const windows = [];
  for (let index = 0; index < columns * floors; index++) {
    const column = index % columns;
    const row = Math.floor(index / columns);
    if (row === floors - 1 && column === 0) continue; // the door is there
    const order = (index * 7 + floors) % (columns * floors);
    windows.push(html`<rect key=${index} class=${order < lit ? `window is-lit on-${state}` : "window"} x=${gap + column * (6 + gap)} y=${top + 7 + row * 16} width="6" height="8" rx="1" />`);
  }
  const roofs = { gable: `M-2 ${top}L${width / 2} ${top - 13}L${width + 2} ${top}z`, flat: `M-2 ${top - 4}h${width + 4}v4h-${width + 4}z`, shed: `M-2 ${top}L${width + 2} ${top - 10}V${top}z` };
  return html`<g class=${`house is-${state}`} transform=${`translate(${x} 0)`} style=${{ "--hue": hue(name) }} onClick=${() => go({ view: "agent", name })}>
    <title>${name}: ${state}</title>
    ${chimney ? html`<rect class="chimney" x=${width - 9} y=${top - 14} width="5" height="14" />` : null}
    ${chimney && state === "working" ? html`<circle class="smoke" cx=${width - 6} cy=${top - 18} r="3" /><circle class="smoke is-late" cx=${width - 6} cy=${top - 18} r="3" />` : null}
    <rect class="wall" x="0" y=${top} width=${width} height=${height} />
    <path class="roof" d=${roofs[roof]} />
    ${windows}<rect class="door" x=${gap - 1} y=${HEIGHT - GROUND - 12} width="8" height="12" rx="1" />
  </g>`;
});

/** The skyline of these agents. */
export function Skyline({ agents }) {
  const shown = [...agents].sort((a, b) => ORDER[a.state] - ORDER[b.state] || a.name.localeCompare(b.name)).slice(0, AT_MOST);
  let x = 14;
  const houses = shown.map((agent) => {
    const house = html`<${House} key=${agent.id} name=${agent.name} state=${agent.state} x=${x} />`;
    x += shape(agent.name).width + 9 + (hue(agent.name) % 3) * 5;
    return house;
  });
  return html`<div class="skyline" aria-hidden="true">
    <svg width=${Math.max(x + 20, 1)} height=${HEIGHT} viewBox=${`0 0 ${Math.max(x + 20, 1)} ${HEIGHT}`}>${houses}</svg><i class="sun"></i><i class="ground"></i></div>`;
}
