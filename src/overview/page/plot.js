"use strict";

// Elements, SVG and plots. Text is only ever set as text.

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function drawn(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const whole = new Intl.NumberFormat("en");

function short(number) {
  const units = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]];
  for (const [size, unit] of units) {
    if (number >= size) {
      const scaled = number / (size === 1e4 ? 1e3 : size);
      return scaled.toFixed(scaled < 10 ? 1 : 0) + unit;
    }
  }
  return whole.format(Math.round(number * 100) / 100);
}

function bits(number) {
  for (const [size, unit] of [[1e9, "Gbit/s"], [1e6, "Mbit/s"], [1e3, "kbit/s"]]) {
    if (number >= size) return (number / size).toFixed(number < 10 * size ? 1 : 0) + " " + unit;
  }
  return Math.round(number) + " bit/s";
}

function clock(millis, step) {
  const text = new Date(millis).toISOString();
  if (step >= 86400000) return text.slice(5, 10);
  if (step >= 60000) return text.slice(11, 16);
  return step >= 1000 ? text.slice(11, 19) : text.slice(17, 21) + " s";
}

function timeStep(range, most) {
  const second = 1000, minute = 60 * second, hour = 60 * minute, day = 24 * hour;
  const steps = [100, 200, 500, second, 2 * second, 5 * second, 10 * second, 30 * second, minute, 2 * minute, 5 * minute,
    10 * minute, 30 * minute, hour, 2 * hour, 6 * hour, 12 * hour, day, 2 * day, 7 * day, 30 * day, 365 * day];
  return steps.find((step) => range / step <= most) || range;
}

// The next number of 1, 2 and 5 times a power of ten.
function ceiling(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].map((factor) => factor * power).find((nice) => nice >= number * 0.999);
}

// What happened in at most `most` equal parts of the time. A sample is a list: start, then its numbers.
function parts(capture, column, how, most, live) {
  const samples = capture.history;
  const from = samples[0][0];
  const least = Math.min(30 * capture.step, 300000);
  const to = Math.max(capture.at, samples[samples.length - 1][0] + capture.step / 2, from + least);
  const width = Math.ceil((to - from) / capture.step / most) * capture.step;
  const count = Math.ceil((to - from) / width);
  const values = new Array(count).fill(0);
  const filled = new Array(count).fill(false);
  for (const sample of samples) {
    const index = Math.min(count - 1, Math.floor((sample[0] - from) / width));
    filled[index] = true;
    if (how === "level") values[index] = sample[column];
    else values[index] += sample[column];
  }
  for (let index = 0; index < count; index++) {
    const start = from + index * width;
    if (how === "level" && !filled[index]) values[index] = start > capture.at ? null : values[index - 1] || 0;
    if (how !== "rate") continue;
    // The last part of a live run is not over yet; when it has only begun it says nothing.
    const lasted = live ? Math.min(width, capture.at - start) : width;
    values[index] = lasted < width / 4 && index > 0 ? null : (values[index] * 8000) / Math.max(lasted, 1);
  }
  return { from, to: from + count * width, width, values };
}

// Draws one row of numbers over time into a figure that stands in the page.
function plot(figure, capture, { column, how, format }, live) {
  const readout = figure.querySelector("output");
  const width = Math.max(240, figure.clientWidth - 22), height = width < 400 ? 120 : 150;
  const left = how === "rate" ? 66 : 40, right = 8, top = 8, bottom = 20;
  const { from, to, width: part, values } = parts(capture, column, how, Math.floor((width - left - right) / 5), live);
  const known = values.filter((value) => value !== null);
  const peak = Math.max(...known, 0);
  const high = peak > 0 ? ceiling(peak) : 1;
  const x = (at) => left + ((at - from) / (to - from)) * (width - left - right);
  const y = (value) => height - bottom - (value / high) * (height - top - bottom);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
  const sum = known.reduce((all, value) => all + value, 0);
  const summary = how === "sum" ? `${short(sum)} in all` : how === "level" ? `now ${format(known[known.length - 1])}` : `peak ${format(peak)}`;
  svg.setAttribute("aria-label", `${figure.dataset.title}: ${summary}`);
  readout.textContent = summary;
  const halves = how === "rate" || Number.isInteger(high / 2);
  for (const value of halves ? [0, high / 2, high] : [0, high]) {
    svg.append(drawn("line", { class: value ? "grid" : "base", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    if (peak > 0) svg.append(drawn("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)));
  }
  const step = timeStep(to - from, (width - left) / 85);
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
    const anchor = x(at) > width - 24 ? "end" : x(at) < left + 18 ? "start" : "middle";
    svg.append(drawn("text", { x: x(at), y: height - 5, "text-anchor": anchor }, clock(at, step)));
  }
  if (peak === 0) {
    svg.append(drawn("text", { x: (left + width) / 2, y: height / 2, "text-anchor": "middle" }, "none"));
  } else if (how === "sum") {
    const wide = Math.min(24, Math.max(1, x(from + part) - left - 1));
    values.forEach((value, index) => {
      if (!value) return;
      const middle = x(from + (index + 0.5) * part);
      const tall = Math.max(1.5, y(0) - y(value));
      svg.append(drawn("rect", { class: "bar", x: middle - wide / 2, y: y(0) - tall, width: wide, height: tall, rx: Math.min(2, wide / 3) }));
    });
  } else {
    const points = [];
    values.forEach((value, index) => {
      if (value !== null) points.push([x(Math.min(to, from + (index + 0.5) * part)), y(value)]);
    });
    const path = "M" + points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join("L");
    const [first, last] = [points[0][0], points[points.length - 1][0]];
    svg.append(drawn("path", { class: "area", d: `${path}L${last},${y(0)}L${first},${y(0)}Z` }));
    svg.append(drawn("path", { class: "line", d: path }));
    if (points.length === 1) svg.append(drawn("circle", { cx: first, cy: points[0][1], r: 2.5, class: "bar" }));
  }
  const cursor = drawn("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  svg.append(cursor);
  svg.addEventListener("pointermove", (event) => {
    const place = ((event.clientX - svg.getBoundingClientRect().left) / svg.clientWidth) * width;
    const index = Math.floor((((place - left) / (width - left - right)) * (to - from)) / part);
    const value = values[index];
    if (value === undefined || value === null) return;
    const at = from + index * part;
    cursor.setAttribute("x1", x(at + part / 2));
    cursor.setAttribute("x2", x(at + part / 2));
    cursor.setAttribute("visibility", "visible");
    readout.textContent = `${clock(at, Math.max(1000, Math.min(part, 59999)))} · ${format(value)}`;
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    readout.textContent = summary;
  });
  figure.querySelectorAll("svg").forEach((old) => old.remove());
  figure.append(svg);
}
