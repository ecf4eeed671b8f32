// Who we are to the master: the cookie that its login address sets (`/?token=…`) goes with every request.

/** A request; the caller looks at `ok`. */
export function request(path, options = {}) {
  return fetch(path, { credentials: "same-origin", ...options });
}

/** Goes to the login address, which sets the cookie and comes back here. */
export function login(token) {
  location.href = `/?token=${encodeURIComponent(token.trim())}`;
}
