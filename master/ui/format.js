// Turns what the master says into what people read.

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

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
  if (resource.ranges) return resource.ranges.ranges.reduce((sum, range) => sum + Number(range.high) - Number(range.low) + 1, 0);
  if (resource.set) return resource.set.items.length;
  return Number(resource.scalar || 0);
}

export function amount(name, value) {
  if (IN_BYTES.has(name)) return bytes(value);
  if (name === "ports") return String(value);
  return milli(value);
}

export function resourcesText(resources) {
  const sums = totals(resources);
  return Object.keys(sums).map((name) => `${amount(name, sums[name])} ${name}`).join(", ") || "–";
}

export function age(thenMs) {
  const then = Number(thenMs);
  if (!then) return "–";
  const seconds = Math.max(0, Math.floor((Date.now() - then) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86400)}d`;
}

/** A word of the wire as people read it: `out_of_memory` → `out of memory`. */
export function word(value) {
  return String(value || "").replace(/^ISOLATION_LEVEL_/, "").toLowerCase().replaceAll("_", " ");
}

const TONES = {
  running: "good", active: "good", connected: "good", finished: "good", ready: "good",
  staging: "busy", taken: "busy", starting: "busy", killing: "busy", draining: "busy", awaited: "busy",
  failed: "bad", error: "bad", gone: "bad", unreachable: "bad", disconnected: "bad", dropped: "bad",
};

export function tone(text) {
  return TONES[text] || "calm";
}
