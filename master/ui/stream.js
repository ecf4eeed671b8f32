// Reads server-sent events over fetch: EventSource hides the status of an answer that is refused.
import { refusalOf, request } from "./session.js";

/**
 * Calls `onEvent({event, id, data})` for each event until the stream ends or `signal` aborts.
 * Resolves at the end, rejects with an Error that has `status` when the answer is not 200.
 */
export async function readEvents(path, onEvent, signal, lastId) {
  const headers = { accept: "text/event-stream" };
  if (lastId) headers["last-event-id"] = lastId;
  const response = await request(path, { headers, signal });
  if (!response.ok) throw await refusalOf(response);
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parseBlock(block);
      if (event) onEvent(event);
    }
  }
}

/** One block of lines to an event, or null for a comment. */
export function parseBlock(block) {
  const event = { event: "message", id: undefined, data: "" };
  let any = false;
  for (const line of block.split("\n")) {
    if (line.startsWith(":")) continue;
    const at = line.indexOf(":");
    const field = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (field === "data") { event.data += (any ? "\n" : "") + value; any = true; }
    else if (field === "event") event.event = value;
    else if (field === "id") event.id = value;
  }
  return any ? event : null;
}
