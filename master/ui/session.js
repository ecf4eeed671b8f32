// Who we are to the master: the cookie that its login address sets (`/?token=…`) goes with every request.

/** A request; the caller looks at `ok`. */
export function request(path, options = {}) {
  return fetch(path, { credentials: "same-origin", ...options });
}

/** JSON of an answer, or an Error with the words of the refusal. */
export async function readJson(path) {
  const response = await request(path);
  if (!response.ok) throw await refusalOf(response);
  return response.json();
}

/** The Error for an answer that is not ok. Refusals are `{code, field, message, hint}`. */
export async function refusalOf(response) {
  const text = await response.text();
  let words = `${response.status} ${response.statusText}`;
  try {
    const refusal = JSON.parse(text);
    words = [refusal.message, refusal.hint].filter(Boolean).join("; ") || words;
  } catch { if (text) words = text.slice(0, 200); }
  const error = new Error(words);
  error.status = response.status;
  return error;
}

/** Goes to the login address, which sets the cookie and comes back here. */
export function login(token) {
  location.href = `/?token=${encodeURIComponent(token.trim())}`;
}
