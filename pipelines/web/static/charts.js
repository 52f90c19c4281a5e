"use strict";

// Charts as SVG; page.js calls them with what it has read.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  if (text !== undefined) made.textContent = text;
  return made;
}

function frame(svg) {
  const { clientWidth: width, clientHeight: height } = svg;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  return { width, height, top: 16, bottom: height - 22, right: width - 14 };
}

const path = (points) => points.map(([x, y], index) => (index ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1)).join("");
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// The points of the curve, lowest price first; a file without them has those of its strikes.
function curveOf(payload, rungs) {
  if (payload !== null && payload.curve?.length > 1) return payload.curve.map((point) => ({ ...point, above: point.at_or_above }));
  const known = rungs.filter((rung) => rung.above !== null).reverse();
  return known.map((rung) => ({ price: rung.strike, above: rung.above, low: rung.low, high: rung.high }));
}

function drawCurve(payload, rungs) {
  const svg = byId("curve");
  const points = curveOf(payload, rungs);
  if (points.length < 2 || svg.clientWidth === 0) { svg.replaceChildren(); return; }
  const { width, top, bottom, right } = frame(svg);
  const left = 34;
  const [first, last] = [points[0].price, points.at(-1).price];
  const x = (price) => left + (price - first) / (last - first) * (right - left);
  const y = (value) => bottom - value / 100 * (bottom - top);
  const parts = [];
  for (const level of [0, 25, 50, 75, 100]) {
    parts.push(element("line", { class: "grid", x1: left, x2: right, y1: y(level), y2: y(level) }));
    parts.push(element("text", { x: left - 7, y: y(level) + 4, "text-anchor": "end" }, level));
  }
  const step = niceStep((last - first) / (width < 480 ? 3 : 5));
  for (let price = Math.ceil(first / step) * step; price <= last; price += step) {
    const label = strikeText(Number(price.toPrecision(12)));
    const half = 3.5 * label.length;
    if (x(price) - half < left - 12 || x(price) + half > width) continue;
    parts.push(element("line", { class: "grid", x1: x(price), x2: x(price), y1: bottom, y2: bottom + 4 }));
    parts.push(element("text", { x: x(price), y: bottom + 17, "text-anchor": "middle" }, label));
  }
  const banded = points.filter((point) => point.low !== null);
  if (banded.length > 1) {
    const edge = [...banded.map((point) => [x(point.price), y(point.high)]), ...banded.toReversed().map((point) => [x(point.price), y(point.low)])];
    parts.push(element("path", { class: "band", d: path(edge) + "Z" }));
  }
  parts.push(element("path", { class: "line", "data-points": points.length, d: path(points.map((point) => [x(point.price), y(point.above)])) }));
  for (const rung of rungs.filter((one) => one.above !== null && one.strike >= first && one.strike <= last).reverse()) {
    const dot = element("circle", { class: "dot", cx: x(rung.strike), cy: y(rung.above), r: 2.6, "data-strike": rung.strike, "data-percent": rung.above });
    dot.append(element("title", {}, strikeText(rung.strike) + ": " + percent(rung.above) + " %"));
    parts.push(dot);
  }
  const at = clamp(x(payload.current_price), left, right);
  parts.push(element("line", { class: "price", x1: at, x2: at, y1: top, y2: bottom }));
  parts.push(element("text", { class: "price", x: clamp(at, left + 32, right - 32), y: top - 4, "text-anchor": "middle" }, money(payload.current_price)));
  svg.replaceChildren(...parts);
}

function drawHour(payload) {
  const svg = byId("hour");
  put(byId("history-note"), historyNote);
  const start = hourStart();
  const shown = prices.filter(([at]) => at >= start);
  if (payload === null || shown.length === 0 || svg.clientWidth === 0) { svg.replaceChildren(); return; }
  const { top, bottom, right } = frame(svg);
  const strike = payload.base_strike;
  const values = [...shown.map(([, price]) => price), strike];
  const [lowest, highest] = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const margin = (highest - lowest || highest * 0.001) * 0.08;
  const [low, high] = [lowest - margin, highest + margin];
  const step = niceStep((high - low) / 4);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const label = (value) => value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const left = 12 + 7 * label(high).length;
  const x = (at) => left + (at - start) / HOUR_MS * (right - left);
  const y = (price) => bottom - (price - low) / (high - low) * (bottom - top);
  const parts = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
    parts.push(element("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }));
    parts.push(element("text", { x: left - 7, y: y(value) + 4, "text-anchor": "end" }, label(value)));
  }
  for (const minute of [0, 15, 30, 45, 60]) {
    const anchor = minute === 0 ? "start" : minute === 60 ? "end" : "middle";
    const time = new Date(start + minute * 60000).toISOString().slice(11, 16);
    parts.push(element("text", { x: x(start + minute * 60000), y: bottom + 17, "text-anchor": anchor }, time));
  }
  parts.push(element("line", { class: "strike", x1: left, x2: right, y1: y(strike), y2: y(strike), "data-strike": strike }));
  parts.push(element("text", { class: "strike", x: right, y: y(strike) + (y(strike) < top + 16 ? 14 : -5), "text-anchor": "end" }, strikeText(strike)));
  let line = "";
  shown.forEach(([at, price], index) => {
    const joined = index > 0 && at - shown[index - 1][0] < GAP_MS;
    line += (joined ? "L" : "M") + x(at).toFixed(1) + " " + y(price).toFixed(1);
  });
  parts.push(element("path", { class: "line", d: line, "data-points": shown.length }));
  const [at, price] = shown.at(-1);
  parts.push(element("circle", { class: "dot", cx: x(at), cy: y(price), r: 3.5 }));
  svg.replaceChildren(...parts);
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}
