"use strict";

const byId = (id) => document.getElementById(id);
const body = document.body;
const staleAfter = Number(body.dataset.staleAfter);
const unwrittenAfter = Number(body.dataset.unwrittenAfter);
const HEALTH_MS = 5000;
const TICK_MS = 250;
const GAP_MS = 120000;
const HOUR_MS = 3600000;

let symbol = body.dataset.symbol;
let events = null;
let latest = null;      // the last event
let offset = 0;         // server clock minus local clock, ms: ages are by the server clock
let lostAt = null;      // when the connection was lost
let prices = [];        // [ms, USD] of this hour, oldest first
let historyNote = "";
let pastAt = "";        // the past minute that is shown instead of the live ladder; empty: none
let past = null;        // its ladder; null while it is read, and without one

const serverNow = () => Date.now() + offset;
// As pipelines/domain/prices/decimals.py: six significant digits, at least cents.
const priceDecimals = (value) => Math.min(20, Math.max(2, 5 - Math.floor(Math.log10(value))));
const money = (value) => value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: priceDecimals(value) });
const strikeText = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 20 });
const percent = (value) => value === null ? "–" : value.toFixed(2);
const signed = (value, digits) => (value < 0 ? "" : "+") + value.toFixed(digits);
const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };

function ageText(seconds) {
  if (seconds < 1) return "under 1 s";
  if (seconds < 120) return Math.floor(seconds) + " s";
  if (seconds < 7200) return Math.round(seconds / 60) + " min";
  return seconds < 172800 ? Math.round(seconds / 3600) + " h" : Math.round(seconds / 86400) + " d";
}

// As in domain/models/freshness.py, repeated as time passes: a file that stops changing must not look fresh.
function assess(payload, now) {
  const ages = { file: (now - Date.parse(payload.timestamp)) / 1000, price: (now - Date.parse(payload.price_timestamp)) / 1000 };
  const reasons = payload.reasons;
  if (lostAt !== null) return ["no connection", ["the server has not answered for " + ageText((Date.now() - lostAt) / 1000)], ages];
  if (ages.file > unwrittenAfter) return ["not written", ["the file is not being written: it is " + ageText(ages.file) + " old", ...reasons], ages];
  const old = Object.entries(ages).filter(([, age]) => age > staleAfter).map(([name, age]) => "the " + name + " is " + ageText(age) + " old");
  const ahead = Object.entries(ages).filter(([, age]) => age < -staleAfter)
    .map(([name, age]) => "the " + name + " is " + ageText(-age) + " ahead of the server's clock: its age is not known");
  if (old.length || ahead.length) return ["stale", [...old, ...ahead, ...reasons], ages];
  if (payload.status === "stale") return ["stale", [...reasons, "its session will not refresh it"], ages];
  return [["ok", "replay"].includes(payload.status) ? payload.status : "degraded", reasons, ages];
}

// As settlement_text and basis_text of pipelines/live/probability_reader.py.
function settlementTexts(payload) {
  if ((payload.settlement ?? "last_price") === "last_price") return ["last price", "none"];
  const { basis, known_values: known } = payload;
  const bps = !basis ? "unknown" : signed(basis.bps, 1) + " bp, " + basis.source + ", " + ageText(basis.age_seconds) + " old";
  return ["mean of 60 s" + (known ? ", " + known + " known" : ""), bps];
}

function showState(status, reasons) {
  const badge = byId("status");
  put(badge, status);
  badge.dataset.status = status;
  document.querySelector("main").dataset.status = status;
  showList(byId("reasons"), reasons);
}

function showList(list, texts) {
  if (JSON.stringify(texts) === list.dataset.shown) return;
  list.dataset.shown = JSON.stringify(texts);
  list.replaceChildren(...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

function tick() {
  tickMarkets();
  if (latest === null) {
    if (lostAt !== null) showState("no connection", ["the server does not answer"]);
    return;
  }
  const payload = latest.payload;
  if (payload === null) {
    showState(lostAt === null ? latest.status : "no connection", lostAt === null ? latest.reasons : ["the server does not answer"]);
    return;
  }
  const now = serverNow();
  const [status, reasons, ages] = assess(payload, now);
  showState(status, reasons);
  put(byId("price-age"), ageText(ages.price));
  put(byId("file-age"), ageText(ages.file));
  const ttc = Math.max(0, Math.ceil((Date.parse(payload.market_close) - now) / 1000));
  const clock = String(Math.floor(ttc / 60)).padStart(2, "0") + ":" + String(ttc % 60).padStart(2, "0");
  put(byId("ttc"), clock);
  document.title = symbol + " " + money(payload.current_price) + " · " + clock + " · strikecast";
}

// Highest strike first; `above` is the probability of closing at or above the strike, whichever side the price is on.
function rungsOf(payload) {
  return payload.probabilities.map((row, index) => {
    const upward = row.direction === "above";
    const { prob_beyond_low: low, prob_beyond_high: high } = payload.intervals[index];
    return {
      strike: row.strike, move: upward ? row.move_percent : -row.move_percent, above: row.positive_prob, below: row.negative_prob,
      low: low === null ? null : upward ? low : 100 - high, high: high === null ? null : upward ? high : 100 - low,
      outcome: payload.closed_at_or_above?.[index],
    };
  }).reverse();
}

function showLadder(payload, rungs) {
  const table = byId("rungs");
  const mark = byId("mark");
  const rows = [...table.children].filter((row) => row !== mark);
  while (rows.length > rungs.length) rows.pop().remove();
  while (rows.length < rungs.length) {
    rows.push(byId("rung").content.firstElementChild.cloneNode(true));
    table.append(rows.at(-1));
  }
  rungs.forEach((rung, index) => {
    const row = rows[index];
    const cell = (name) => row.querySelector("." + name);
    put(row.querySelector("th"), strikeText(rung.strike));
    put(cell("move"), signed(rung.move, 3));
    put(cell("above").firstElementChild, percent(rung.above));
    row.querySelector("rect").setAttribute("width", rung.above ?? 0);
    put(cell("below"), percent(rung.below));
    put(cell("interval"), rung.low === null ? "" : percent(rung.low) + " – " + percent(rung.high));
    put(cell("outcome"), rung.outcome === undefined ? "" : rung.outcome === null ? "–" : rung.outcome ? "yes" : "no");
  });
  put(mark.querySelector("span"), payload === null ? "" : money(payload.current_price));
  const under = rows[rungs.findIndex((rung) => rung.move <= 0)] ?? null;
  if (mark.nextElementSibling !== under) table.insertBefore(mark, under);
}

function showEvent(event) {
  latest = event;
  const payload = event.payload;
  byId("notice").hidden = event.notice === null;
  put(byId("notice").querySelector("span"), event.notice ?? "");
  const rungs = payload === null ? [] : rungsOf(payload);
  put(byId("price"), payload === null ? "–" : money(payload.current_price));
  put(byId("sigma"), payload === null || payload.sigma === null ? "–" : payload.sigma.toFixed(4));
  put(byId("momentum"), payload === null ? "–" : payload.momentum_score === null ? "unknown" : signed(payload.momentum_score, 4));
  put(byId("model"), payload === null ? "–" : payload.model ?? "none");
  put(byId("generation"), String(payload?.model_version ?? "–"));
  const [settlement, basis] = payload === null ? ["–", "–"] : settlementTexts(payload);
  put(byId("settlement"), settlement);
  put(byId("basis"), basis);
  showList(byId("warnings"), payload?.warnings ?? []);
  if (payload === null) ["ttc", "price-age", "file-age"].forEach((id) => put(byId(id), "–"));
  if (pastAt === "") showAnswers(payload, rungs);
  if (payload !== null) addPrice(Date.parse(payload.price_timestamp), payload.current_price);
  drawHour(payload);
  tick();
}

function showAnswers(payload, rungs) {
  showLadder(payload, rungs);
  const prices = new Map((payload?.quantiles ?? []).map((row) => [String(row.percent), row.price]));
  document.querySelectorAll("#quantiles dd").forEach((cell) => {
    const price = prices.get(cell.dataset.percent) ?? null;
    put(cell, price === null ? "–" : money(price));
  });
  drawCurve(payload, rungs);
}

function addPrice(at, price) {
  if (prices.length === 0 || at > prices.at(-1)[0]) prices.push([at, price]);
  if (prices[0][0] < hourStart()) prices = prices.filter(([when]) => when >= hourStart());
}

const hourStart = () => Math.floor(serverNow() / HOUR_MS) * HOUR_MS;

// ---- requests and events

async function loadHistory() {
  const requested = symbol;
  try {
    const response = await fetch(`/api/${requested}/history`);
    const rows = await response.json();
    if (requested !== symbol) return;
    historyNote = response.ok ? "" : "(since this page was opened: the database is unavailable)";
    if (response.ok) {
      const stored = rows.map(([at, price]) => [Date.parse(at), price]);
      const newest = stored.length ? stored.at(-1)[0] : 0;
      prices = [...stored, ...prices.filter(([at]) => at > newest)];
    }
  } catch {
    historyNote = "";
  }
  if (latest !== null) drawHour(latest.payload);
}

async function loadHealth() {
  if (document.hidden) return;
  const pill = byId("health-pill");
  let report;
  try {
    report = await (await fetch("/health")).json();
  } catch {
    put(pill, "no connection");
    pill.dataset.good = "no";
    return;
  }
  put(pill, (report.healthy ? "healthy" : "not healthy") + (report.notices.length ? ", replay" : ""));
  pill.dataset.good = report.healthy ? "yes" : "no";
  showList(byId("problems"), report.problems);
  showList(byId("health-warnings"), report.warnings);
  const { database, session, symbols } = report.checks;
  const check = (name, text) => put(document.querySelector(`[data-check="${name}"]`), text);
  check("database", database.ok ? "available" : "unavailable");
  check("session", String(session.session_id ?? "–"));
  check("heartbeat", session.heartbeat_age_seconds === undefined ? "–" : ageText(session.heartbeat_age_seconds));
  Object.entries(symbols).forEach(([name, view]) => check(name, view.status));
}

function listen() {
  events?.close();
  const source = new EventSource(`/events/${symbol}`);
  events = source;
  source.addEventListener("open", () => { lostAt = null; loadHistory(); });
  source.addEventListener("error", () => {
    lostAt ??= Date.now();
    tick();
    // The browser reconnects after a broken connection, but not after an HTTP error.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => { if (source === events) listen(); }, 2000);
  });
  source.addEventListener("ladder", (message) => {
    const event = JSON.parse(message.data);
    offset = Date.parse(event.at) - Date.now();
    lostAt = null;
    showEvent(event);
  });
  source.addEventListener("strike_table", (message) => {
    const event = JSON.parse(message.data);
    offset = Date.parse(event.at) - Date.now();
    showMarket(event);
  });
}

function selectSymbol(next) {
  symbol = next;
  prices = [];
  latest = null;
  document.querySelectorAll("nav a").forEach((link) => {
    if (link.textContent === symbol) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  put(byId("symbol"), symbol);
  byId("file-link").href = `/api/${symbol}`;
  byId("history-link").href = `/api/${symbol}/history`;
  forgetMarkets();
  showChosen();
  listen();
}

// There is no field to find a symbol where all of them are in sight.
byId("find")?.addEventListener("input", ({ target }) => {
  const text = target.value.trim().toUpperCase();
  document.querySelectorAll("nav.symbols a").forEach((link) => { link.hidden = !link.textContent.includes(text); });
});
byId("find")?.addEventListener("keydown", ({ key }) => {
  if (key === "Enter") document.querySelector("nav.symbols a:not([hidden])")?.click();
});
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest" });
document.querySelector("nav").addEventListener("click", (click) => {
  const link = click.target.closest("a");
  if (link === null || click.ctrlKey || click.metaKey || click.shiftKey || click.button !== 0) return;
  click.preventDefault();
  history.pushState(null, "", link.href);
  selectSymbol(link.textContent);
});
window.addEventListener("popstate", () => {
  const query = new URLSearchParams(location.search);
  const named = query.get("symbol") ?? body.dataset.symbol;
  // A link within the page changes neither.
  if (named !== symbol || (query.get("at") ?? "").replace(/Z$/, "") !== pastAt) selectSymbol(named);
});

let redraw = 0;
new ResizeObserver(() => {
  cancelAnimationFrame(redraw);
  redraw = requestAnimationFrame(() => {
    if (latest === null) return;
    const shown = pastAt === "" ? latest.payload : past;
    drawCurve(shown, shown === null ? [] : rungsOf(shown));
    drawHour(latest.payload);
  });
}).observe(byId("curve"));

listen();
loadHealth();
setInterval(tick, TICK_MS);
setInterval(loadHealth, HEALTH_MS);
