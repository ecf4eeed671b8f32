// One task: what it is, its sandbox, and its output as it is written.
import { useEffect } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../html.js";
import { Command, State } from "../parts.js";
import { Age } from "../clock.js";
import { bytes, resourcesText, word } from "../format.js";
import { Addresses, addresses } from "./tasks.js";
import { Log } from "./log.js";
import { Sandbox } from "./sandbox.js";

const LIVE = new Set(["staging", "taken", "starting", "running", "killing", "unreachable"]);

export function Task({ state, rest }) {
  const row = state.tasks.get(rest);
  const chosen = useSignal(null);
  const sizes = useSignal({});
  useEffect(() => { chosen.value = null; sizes.value = {}; }, [rest]);
  if (!row) return html`<p class="empty">No task ${rest} is known. Tasks that have ended are forgotten when their framework has taken note.</p>`;
  const path = `/v1/tasks/${encodeURIComponent(row.framework)}/${encodeURIComponent(row.name)}`;
  // Many programs write to stderr alone: show what has something in it, until one chooses.
  const stream = chosen.value || (sizes.value.stderr > 0 && !(sizes.value.stdout > 0) ? "stderr" : "stdout");
  return html`
    <h2 class="title">${row.name} <${State} text=${word(row.state)} /> <${Age} at=${row.at_ms} /></h2>
    <div class="task">
      <div class="card" id="facts"><${Facts} row=${row} framework=${state.frameworks.get(row.framework)} /></div>
      <${Sandbox} path=${path} state=${row.state} onSizes=${(found) => { sizes.value = found; }} key=${rest} />
    </div>
    <section>
      <div class="tools">${["stdout", "stderr"].map((name) => html`<button key=${name} aria-pressed=${stream === name} onClick=${() => { chosen.value = name; }}>${name}</button>`)}</div>
      <${Log} path=${path} stream=${stream} isLive=${LIVE.has(row.state)} key=${`${rest} ${stream}`} />
    </section>
    <${Command} text=${`proffer logs -f ${rest}`} />`;
}

function Facts({ row, framework }) {
  const exit = row.exit;
  const pairs = (map) => Object.entries(map || {}).filter(([, value]) => value !== "").map(([name, value]) => html`<code key=${name} class="chip">${name}=${value}</code> `);
  return html`<dl class="facts">
      ${row.message ? html`<dt>Says</dt><dd><pre class="message">${row.message}</pre></dd>` : null}
      ${exit ? html`<dt>Exit</dt><dd>${exitText(exit)}</dd>` : html`<dt>Reason</dt><dd>${word(row.reason) || "–"}</dd>`}
      <dt>Ready</dt><dd>${row.ready == null ? "not checked" : row.ready ? "yes" : "no"}</dd>
      ${addresses(row).length ? html`<dt>Address</dt><dd><${Addresses} row=${row} /></dd>` : null}
      <dt>Agent</dt><dd><a href=${`#/agents?q=${encodeURIComponent(row.agent_name || row.agent)}`}>${row.agent_name || row.agent}</a></dd>
      <dt>Framework</dt><dd><a href=${`#/frameworks?q=${encodeURIComponent(row.framework)}`}>${framework?.info.name || row.framework}</a>, role ${row.role}</dd>
      <dt>Allocated</dt><dd>${resourcesText(row.resources)}</dd>
      <dt>Isolation</dt><dd>${word(row.isolation)}</dd>
      <dt>Container</dt><dd><code>${row.container}</code></dd>
      <dt>Labels</dt><dd>${pairs(row.labels)}</dd>
      <dt>Variables</dt><dd>${pairs(row.variables)}</dd>
    </dl>`;
}

function exitText(exit) {
  const words = [exit.signal != null ? `signal ${exit.signal}` : `code ${exit.code}`];
  if (exit.out_of_memory) words.push("out of memory");
  if (exit.memory_peak_bytes != null) words.push(`at most ${bytes(exit.memory_peak_bytes)} of memory`);
  words.push(`after ${(Number(exit.ran_for_ms || 0) / 1000).toFixed(1)} s`);
  return words.join(", ");
}
