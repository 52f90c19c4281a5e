"use strict";

// The server renders the page of the paper desk; this replaces the parts that have changed.

const REFRESH_MS = 2000;
const TIMEOUT_MS = 5000;
const parts = () => document.querySelectorAll("[data-part]");
let lostAt = null;

async function read() {
  const response = await fetch("/desk", { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(response.statusText);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

function show(fresh) {
  document.title = fresh.title;
  for (const part of parts()) {
    const next = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
    if (next !== null && next.outerHTML !== part.outerHTML) part.replaceWith(document.adoptNode(next));
  }
}

// What is shown stays, marked as not current.
function showLost() {
  lostAt ??= Date.now();
  const account = document.querySelector('[data-part="account"]');
  account.dataset.status = "no connection";
  account.querySelector(".badge").textContent = "no connection";
  const reason = document.createElement("li");
  reason.textContent = `the server has not answered for ${Math.round((Date.now() - lostAt) / 1000)} s`;
  account.querySelector(".reasons").replaceChildren(reason);
}

async function refresh() {
  if (!document.hidden) {
    try {
      show(await read());
      lostAt = null;
    } catch {
      showLost();
    }
  }
  setTimeout(refresh, REFRESH_MS);
}

setTimeout(refresh, REFRESH_MS);
