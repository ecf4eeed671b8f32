// Turns what the master says into what people read.

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(value) {
  let number = Number(value);
  let unit = 0;
  while (number >= 1024 && unit < BYTE_UNITS.length - 1) { number /= 1024; unit += 1; }
  return `${number >= 100 || Number.isInteger(number) ? Math.round(number) : number.toFixed(1)} ${BYTE_UNITS[unit]}`;
}

export function milli(value) {
  return String(Math.round(Number(value)) / 1000);
}

const IN_BYTES = new Set(["mem", "disk"]);

/** Sums a resource list into {name: number}; ranges and sets count items, scalars keep their unit. */
export function totals(resources) {
  const sums = {};
  for (const resource of resources || []) {
    sums[resource.name] = (sums[resource.name] || 0) + quantity(resource);
  }
  return sums;
}

function quantity(resource) {
  if (resource.ranges) return (resource.ranges.items || []).reduce((sum, range) => sum + Number(range.high) - Number(range.low) + 1, 0);
  if (resource.set) return (resource.set.items || []).length;
  return Number(resource.scalar || 0);
}

/** The names whose amounts are counts of items, not thousandths: those that came as ranges or sets. */
export function counted(resources) {
  return new Set((resources || []).filter((resource) => resource.ranges || resource.set).map((resource) => resource.name));
}

export function amount(name, value, isCount) {
  if (IN_BYTES.has(name)) return bytes(value);
  return isCount ? Number(value).toLocaleString("en") : milli(value);
}

/** One line: `0.1 cpus · 64 MiB mem · port 20000`. */
export function resourcesText(resources) {
  const counts = counted(resources);
  const sums = totals(resources);
  const words = Object.keys(sums).filter((name) => !counts.has(name)).map((name) => `${amount(name, sums[name])} ${name}`);
  for (const resource of resources || []) {
    if (resource.ranges) words.push(rangesText(resource));
    if (resource.set) words.push(`${resource.name} ${(resource.set.items || []).join(" ")}`);
  }
  return words.join(" · ") || "–";
}

function rangesText(resource) {
  const items = resource.ranges.items || [];
  const text = items.map(({ low, high }) => (low === high ? low : `${low}–${high}`)).join(", ");
  const isOne = items.length === 1 && items[0].low === items[0].high;
  return `${isOne ? resource.name.replace(/s$/, "") : resource.name} ${text}`;
}

/** How long ago, in the largest unit that still says something. */
export function age(then, now) {
  if (!then) return "–";
  const seconds = Math.max(0, Math.floor((now - then) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86400)}d`;
}

/** A word of the wire as people read it: `out_of_memory` → `out of memory`. */
export function word(value) {
  return String(value || "").toLowerCase().replaceAll("_", " ");
}

const TONES = {
  running: "good", active: "good", connected: "good", finished: "good", ready: "good", live: "good",
  staging: "busy", taken: "busy", starting: "busy", killing: "busy", draining: "busy", awaited: "busy", connecting: "busy", waiting: "busy", "not ready": "busy",
  failed: "bad", error: "bad", gone: "bad", unreachable: "bad", disconnected: "bad", dropped: "bad", lost: "bad", "not permitted": "bad",
};

export function tone(text) {
  return TONES[text] || "calm";
}

const NUMERIC = new Intl.Collator("en", { numeric: true });

/** Order for ids and names: `a2` before `a10`. */
export function byName(a, b) {
  return NUMERIC.compare(a, b);
}
