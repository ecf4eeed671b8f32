// The cluster as this tab knows it: rows by id, fed by the watch and nothing else.
import { signal } from "@preact/signals";
import { readJson } from "./session.js";
import { readEvents } from "./stream.js";

/** How the watch is: "connecting", "live", "lost", "denied". */
export const link = signal("connecting");
/** What the master said when it refused the watch: who leads, for example. */
export const trouble = signal("");
export const rows = signal(empty());
/** The master lets everybody in. */
export const open = signal(false);

function empty() {
  return { agents: new Map(), frameworks: new Map(), demand: new Map(), tasks: new Map(), offers: new Map(), roles: new Map(), events: [] };
}

const EVENTS_KEPT = 200;

/** Applies one change to `state`; returns which table it touched. */
export function applyChange(state, change) {
  if (change.agent) state.agents.set(change.agent.id, change.agent);
  else if (change.agent_removed) state.agents.delete(change.agent_removed);
  else if (change.framework) state.frameworks.set(change.framework.id, change.framework);
  else if (change.framework_removed) state.frameworks.delete(change.framework_removed);
  else if (change.demand) state.demand.set(`${change.demand.framework}/${change.demand.group.name}`, change.demand);
  else if (change.demand_removed) state.demand.delete(change.demand_removed);
  else if (change.task) state.tasks.set(change.task.id, change.task);
  else if (change.task_removed) state.tasks.delete(change.task_removed);
  else if (change.offer) state.offers.set(change.offer.id, change.offer);
  else if (change.offer_removed) state.offers.delete(change.offer_removed);
  else if (change.role) state.roles.set(change.role.name, change.role);
  else if (change.event) {
    state.events.unshift(change.event);
    state.events.length = Math.min(state.events.length, EVENTS_KEPT);
  }
}

let cursor;
let delayMs = 250;

/** Follows the watch for ever, from where it broke off. */
export async function follow() {
  for (;;) {
    try {
      open.value = Boolean((await readJson("/v1/overview")).insecure);
      await readEvents("/v1/watch", onEvent, undefined, cursor);
      link.value = "lost";
      trouble.value = "";
    } catch (error) {
      trouble.value = error.status ? error.message : "";
      link.value = error.status === 401 || error.status === 403 ? "denied" : "lost";
      if (link.value === "denied") return;
    }
    await new Promise((wake) => setTimeout(wake, delayMs));
    delayMs = Math.min(delayMs * 2, 5000);
  }
}

let pending = null;

function onEvent(event) {
  const message = JSON.parse(event.data);
  if (message.cursor) cursor = message.cursor;
  link.value = "live";
  trouble.value = "";
  delayMs = 250;
  const base = message.reset ? empty() : pending || rows.value;
  for (const change of message.changes || []) applyChange(base, change);
  // Several messages in one frame make one repaint.
  if (!pending) requestAnimationFrame(() => { rows.value = { ...pending }; pending = null; });
  pending = base;
}
