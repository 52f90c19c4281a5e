"use strict";

// The ladder of a past minute, in the place of the live one, which goes on above it.

const atInput = byId("at");
const main = document.querySelector("main");

// The address names the minute, so that it can be linked: ?symbol=BTC&at=2026-07-01T12:35Z.
function choose(at) {
  history.replaceState(null, "", `?symbol=${symbol}` + (at === "" ? "" : `&at=${at}Z`));
  showChosen();
}

function showChosen() {
  pastAt = (new URLSearchParams(location.search).get("at") ?? "").replace(/Z$/, "");
  atInput.value = pastAt;
  const day = atInput.value.slice(0, 10);
  byId("answers-link").href = `/api/${symbol}/answers.csv` + (day === "" ? "" : `?day=${day}`);
  byId("past").hidden = pastAt === "";
  if (pastAt !== "") {
    showPast(null);
    readPast(symbol, pastAt);
    return;
  }
  if (main.dataset.past === undefined) return;
  delete main.dataset.past;
  const payload = latest?.payload ?? null;
  showAnswers(payload, payload === null ? [] : rungsOf(payload));
}

// Without a ladder the answers are empty: those of another minute would be shown under this one.
function showPast(payload) {
  past = payload;
  main.dataset.past = payload === null ? "none" : payload.origin;
  showAnswers(payload, payload === null ? [] : rungsOf(payload));
}

async function readPast(requested, at) {
  put(byId("past-text"), `reading ${at.replace("T", " ")} UTC …`);
  let payload = null;
  let text = "the server does not answer";
  try {
    const response = await fetch(`/api/${requested}/past?at=${encodeURIComponent(at)}Z`);
    const content = await response.json();
    if (response.ok) payload = content;
    else text = content.error;
  } catch { /* the text says it */ }
  if (requested !== symbol || at !== pastAt) return;
  put(byId("past-text"), payload === null ? text : pastText(payload));
  showPast(payload);
}

function pastText(payload) {
  const at = payload.at.slice(0, 16).replace("T", " ");
  const origin = payload.origin === "stored" ? "as answered then" : `computed from that time's bars by generation ${payload.model_version}, which is built from bars to ${payload.built_to?.slice(0, 10) ?? "an unknown day"}`;
  const replay = payload.status === "replay" ? "; replayed prices, not the market's" : "";
  const close = payload.closing_price === null ? "not closed yet, or no price is known" : `closed at ${money(payload.closing_price)} (${settlementTexts(payload)[0]})`;
  return `${at} UTC: price ${money(payload.current_price)}, ${payload.ttc_seconds} s to the close; ${close}. Model ${payload.model}, ${origin}${replay}.`;
}

atInput.addEventListener("change", () => choose(atInput.value.slice(0, 16)));
byId("live").addEventListener("click", () => choose(""));
showChosen();
