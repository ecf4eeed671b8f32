// One task: what it is, its sandbox, and its output as it is written.
import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../html.js";
import { Command, State } from "../parts.js";
import { age, bytes, resourcesText, word } from "../format.js";
import { request } from "../session.js";

const CHARS_KEPT = 256 * 1024;

export function Task({ state, rest }) {
  const row = state.tasks.get(rest);
  const stream = useSignal("stdout");
  if (!row) return html`<p class="empty">No task ${rest} is known.</p>`;
  const path = `/v1/tasks/${encodeURIComponent(row.framework)}/${encodeURIComponent(row.name)}`;
  const exit = row.exit;
  return html`
    <div class="cards">
      <div class="card"><h2>${row.name}</h2>
        <dl class="facts">
          <dt>State</dt><dd><${State} text=${word(row.state)} /> for ${age(row.at_ms)}</dd>
          <dt>Reason</dt><dd>${word(row.reason) || "–"}</dd>
          <dt>Ready</dt><dd>${row.ready == null ? "not checked" : String(row.ready)}</dd>
          ${exit ? html`<dt>Exit</dt><dd>${exit.signal != null ? `signal ${exit.signal}` : `code ${exit.code}`}${exit.out_of_memory ? ", out of memory" : ""}</dd>` : null}
          <dt>Agent</dt><dd>${row.agent_name || row.agent}, ${row.address || ""}</dd>
          <dt>Uses</dt><dd>${resourcesText(row.resources)}</dd>
          <dt>Isolation</dt><dd>${row.isolation}</dd>
          ${Object.entries(row.variables || {}).map(([name, value]) => html`<dt key=${name}>${name}</dt><dd>${value}</dd>`)}
          ${Object.entries(row.labels || {}).map(([name, value]) => html`<dt key=${name}>${name}</dt><dd>${value}</dd>`)}
        </dl>
        ${row.message ? html`<pre class="log">${row.message}</pre>` : null}
      </div>
      <${Sandbox} path=${path} key=${rest} />
    </div>
    <section style="margin-top:1rem">
      <div class="tools">${["stdout", "stderr"].map((name) => html`<button key=${name} aria-pressed=${stream.value === name} onClick=${() => { stream.value = name; }}>${name}</button>`)}</div>
      <${Log} path=${path} stream=${stream.value} key=${`${rest} ${stream.value}`} />
    </section>
    <${Command} text=${`proffer logs -f ${rest}`} />`;
}

function Log({ path, stream }) {
  const text = useSignal("");
  const note = useSignal("");
  const box = useRef(null);
  useEffect(() => {
    const stop = new AbortController();
    follow(`${path}/logs?stream=${stream}&follow=1&tail=200`, text, stop.signal).catch((error) => {
      if (!stop.signal.aborted) note.value = `The output cannot be read: ${error.message}`;
    });
    return () => stop.abort();
  }, []);
  useEffect(() => { if (box.current) box.current.scrollTop = box.current.scrollHeight; }, [text.value]);
  return html`<pre class="log" id="log" ref=${box} aria-live="off">${text.value || note.value || "No output yet."}</pre>`;
}

async function follow(path, text, signal) {
  const response = await request(path, { signal });
  if (!response.ok) throw new Error(await response.text());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text.value = (text.value + value).slice(-CHARS_KEPT);
  }
}

function Sandbox({ path }) {
  const files = useSignal(null);
  const note = useSignal("");
  useEffect(() => {
    request(`${path}/files`).then(async (response) => {
      if (!response.ok) throw new Error(await response.text());
      const body = await response.json();
      files.value = body.entries || body;
    }).catch((error) => { note.value = error.message; });
  }, []);
  return html`<div class="card" id="sandbox"><h2>Sandbox</h2>
    ${note.value ? html`<p class="empty">${note.value}</p>` : files.value === null ? html`<p class="empty">Reading…</p>` : html`<table><tbody>${files.value.map((file) => html`<tr key=${file.name}><td>${file.name}${file.kind === "directory" ? "/" : ""}</td><td>${file.kind === "directory" ? "" : bytes(file.size ?? file.bytes ?? 0)}</td></tr>`)}</tbody></table>`}
  </div>`;
}
