// Who we are to the master: a token that came in the address (after '#') and stays in this tab.

const KEY = "proffer-token";

export function takeTokenFromAddress() {
  const match = /[#&]token=([^&]+)/.exec(location.hash);
  if (!match) return;
  sessionStorage.setItem(KEY, decodeURIComponent(match[1]));
  history.replaceState(null, "", location.pathname + "#/");
}

export function setToken(token) {
  sessionStorage.setItem(KEY, token.trim());
}

/** A request with the token; the caller looks at `ok`. */
export function request(path, options = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = new Headers(options.headers || {});
  if (token) headers.set("authorization", `Bearer ${token}`);
  return fetch(path, { ...options, headers });
}
