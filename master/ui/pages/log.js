// The output of a task as it is written: one answer that stays open.
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../html.js";
import { request, refusalOf } from "../session.js";

const CHARS_KEPT = 256 * 1024;
const LINES_FIRST = 200;
const RETRY_MS = 1000;
/** One who has scrolled up further than this reads: leave the place. */
const NEAR_END_PX = 40;

export function Log({ path, stream, isLive }) {
  const text = useSignal("");
  const note = useSignal("");
  const box = useRef(null);
  const atEnd = useRef(true);
  const live = useRef(isLive);
  live.current = isLive;
  useEffect(() => {
    const stop = new AbortController();
    follow(`${path}/logs?stream=${stream}&follow=1&tail=${LINES_FIRST}`, text, note, live, stop.signal);
    return () => stop.abort();
  }, []);
  useLayoutEffect(() => { if (box.current && atEnd.current) box.current.scrollTop = box.current.scrollHeight; }, [text.value]);
  const scrolled = ({ target }) => { atEnd.current = target.scrollHeight - target.scrollTop - target.clientHeight < NEAR_END_PX; };
  return html`<pre class="log" id="log" tabindex="0" ref=${box} onScroll=${scrolled}>${text.value}${note.value ? html`<span class="note">${note.value}</span>` : null}</pre>`;
}

/** Follows for as long as the task lives, through broken connections. */
async function follow(path, text, note, live, signal) {
  for (;;) {
    try {
      note.value = text.value ? "" : "Nothing written yet.";
      await readOnce(path, text, note, signal);
      if (!live.current) { note.value = text.value ? "" : "It wrote nothing."; return; }
    } catch (error) {
      if (signal.aborted) return;
      note.value = `The output cannot be read: ${error.message}`;
      if (!live.current) return;
    }
    await new Promise((wake) => setTimeout(wake, RETRY_MS));
    if (signal.aborted) return;
  }
}

async function readOnce(path, text, note, signal) {
  const response = await request(path, { signal });
  if (!response.ok) throw await refusalOf(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let seen = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    seen = (seen + value).slice(-CHARS_KEPT);
    text.value = seen;
    note.value = "";
  }
}
