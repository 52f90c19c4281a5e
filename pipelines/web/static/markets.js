"use strict";

// The strike tables of the symbol's series; their texts come from the server (pipelines/web/strike_tables.py). Quotes
// are taken away here as time passes: they are older than the file.

const quoteLimit = Number(document.body.dataset.quoteLimit);
const markets = document.getElementById("markets");
let cards = new Map();  // by series: what the server sent last

// As age_text of pipelines/domain/models/freshness.py.
const quoteAge = (seconds) => seconds < 10 ? Math.max(0, seconds).toFixed(1) + " s" : ageText(seconds);

// As clock_text of pipelines/live/probability_reader.py.
function clockText(seconds) {
  const two = (value) => String(value).padStart(2, "0");
  if (seconds <= 3600) return two(Math.floor(seconds / 60)) + ":" + two(seconds % 60);
  return Math.floor(seconds / 3600) + ":" + two(Math.floor(seconds / 60) % 60) + ":" + two(seconds % 60);
}

function sectionOf(series) {
  return [...markets.children].find((section) => section.dataset.series === series) ?? null;
}

function addSection(card) {
  const section = byId("market").content.firstElementChild.cloneNode(true);
  section.dataset.series = card.series;
  section.dataset.place = card.place;
  section.setAttribute("aria-label", "Strike table of " + card.series);
  section.querySelector(".file").href = `/api/${card.symbol}/strike-table/${card.series}`;
  const next = [...markets.children].find((other) => Number(other.dataset.place) > card.place) ?? null;
  markets.insertBefore(section, next);
  return section;
}

function showMarket(event) {
  const { card, series } = event;
  if (card === null) {
    cards.delete(series);
    sectionOf(series)?.remove();
    return;
  }
  cards.set(series, { ...card, sent: Date.parse(event.at) });
  const section = sectionOf(series) ?? addSection(card);
  for (const node of section.querySelectorAll("[data-text]")) {
    if (!["state", "closes_in"].includes(node.dataset.text)) put(node, card[node.dataset.text]);
  }
  section.toggleAttribute("data-simulated", card.simulated);
  showList(section.querySelector(".notes"), card.notes);
  showRows(section, card);
  tickMarket(section, cards.get(series), serverNow());
}

function showRows(section, card) {
  const table = section.querySelector("tbody");
  const mark = table.querySelector(".mark") ?? byId("market").content.querySelector(".mark").cloneNode(true);
  const rows = [...table.children].filter((row) => row !== mark);
  while (rows.length > card.rows.length) rows.pop().remove();
  while (rows.length < card.rows.length) {
    rows.push(byId("market-row").content.firstElementChild.cloneNode(true));
    table.append(rows.at(-1));
  }
  card.rows.forEach((it, index) => {
    const row = rows[index];
    put(row.querySelector(".strike"), it.strike);
    put(row.querySelector(".usd"), it.distance);
    put(row.querySelector(".pct"), it.distance_pct);
    put(row.querySelector(".model"), it.model);
    put(row.querySelector(".state"), it.state);
    row.classList.toggle("here", it.holds_price);
  });
  put(mark.querySelector("span"), card.price);
  const inside = card.rows.some((it) => it.holds_price);
  const under = rows[card.rows.findIndex((it) => !it.is_above)] ?? null;
  if (inside) mark.remove();
  else if (mark.parentNode !== table || mark.nextElementSibling !== under) table.insertBefore(mark, under);
}

const QUOTED = ["bid", "bid_size", "ask", "ask_size", "pooled", "edge", "fee"];

function tickMarket(section, card, now) {
  const rows = [...section.querySelectorAll("tbody tr:not(.mark)")];
  card.rows.forEach((it, index) => {
    const row = rows[index];
    const age = it.quote_age_ms === null ? null : (it.quote_age_ms + now - card.sent) / 1000;
    const fresh = age !== null && age <= quoteLimit;
    for (const name of QUOTED) put(row.querySelector("." + name), fresh ? it[name] : ["bid_size", "ask_size", "fee"].includes(name) ? "" : "–");
    put(row.querySelector(".age"), age === null ? "–" : quoteAge(age));
    row.dataset.edge = fresh ? it.edge_is : "";
  });
  const written = (now - Date.parse(card.last_updated)) / 1000;
  const [state, why] = lostAt !== null ? ["no connection", []]
    : written > unwrittenAfter ? ["not written", ["the file is not being written: it is " + ageText(written) + " old"]]
    : written > staleAfter ? ["stale", ["the file is " + ageText(written) + " old"]] : [card.state, card.reasons];
  put(section.querySelector('[data-text="state"]'), state);
  section.dataset.state = state;
  showList(section.querySelector(".reasons"), why);
  const left = Math.max(0, Math.ceil((Date.parse(card.market_close) - now) / 1000));
  put(section.querySelector('[data-text="closes_in"]'), card.market_close === "" ? "–" : clockText(left));
}

function tickMarkets() {
  const now = serverNow();
  for (const [series, card] of cards) tickMarket(sectionOf(series), card, now);
}

function forgetMarkets() {
  cards = new Map();
  markets.replaceChildren();
}
