
// The page: tiles, plots and tables of each capture; the live page asks again and again.

const EVERY = 10000;
const SHORT_LIST = 20;
const place = document.getElementById("captures");
const status = document.getElementById("status");
const said = document.getElementById("said");
const token = document.getElementById("token");
const unfolded = new Set();
let shown = null;

const PLOTS = [
  { title: "BitTorrent flows", hue: "seen", column: 4, how: "sum", format: short },
  { title: "New bans", hue: "ban", column: 5, how: "sum", format: short },
  { title: "Bans in force", hue: "ban", column: 7, how: "level", format: short },
  { title: "Traffic", hue: "traffic", column: 2, how: "rate", format: bits },
  { title: "New flows", hue: "flow", column: 3, how: "sum", format: short },
  { title: "Lost packets", hue: "lost", column: 6, how: "sum", format: short },
];
// Of a capture it is not known what was lost or when flows began, and all its bans are in the tables.
const PLOTS_OF_REPORT = [PLOTS[0], PLOTS[1], PLOTS[3], { title: "Packets", hue: "flow", column: 1, how: "sum", format: short }];

function span(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min` : `${Math.floor(seconds / 86400)} days`;
}

function when(text) {
  return text.slice(0, 10) + " " + text.slice(11, 19);
}

function lines(texts) {
  return texts.flatMap((text, index) => (index ? [element("br"), text] : [text]));
}

function chips(names) {
  return names.map((name) => element("span", { class: "chip" }, name));
}

// Columns: [heading, what of a row, class]. Wide tables become cards on a phone.
function table(key, columns, rows, wide) {
  const all = unfolded.has(key);
  const body = (all ? rows : rows.slice(0, SHORT_LIST)).map((row) =>
    element("tr", {}, ...columns.map(([heading, what, kind], index) => {
      const cell = element("td", kind ? { class: kind } : {}, ...[what(row)].flat());
      if (index && heading) cell.setAttribute("data-label", heading);
      return cell;
    })));
  const headings = columns.map(([heading, , kind]) => element("th", kind === "number" ? { class: kind, scope: "col" } : { scope: "col" }, heading));
  const made = [element("table", wide ? { class: "wide" } : {},
    element("thead", {}, element("tr", {}, ...headings)), element("tbody", {}, ...body))];
  if (!all && rows.length > SHORT_LIST) {
    const button = element("button", { type: "button", class: "more" }, `Show all ${rows.length}`);
    button.addEventListener("click", () => { unfolded.add(key); draw(); });
    made.push(button);
  }
  return made;
}

function part(title, about, rows, content) {
  const heading = element("h3", {}, title, ...(about ? [element("small", {}, about)] : []));
  return element("div", {}, heading, ...(rows.length ? content() : [element("p", { class: "none" }, "None.")]));
}

function tiles(capture, live) {
  const { totals } = capture;
  const tile = (name, value, bad) =>
    element("div", { class: bad ? "tile bad" : "tile" }, element("b", {}, short(value)), element("span", {}, name));
  return element("div", { class: "tiles" },
    ...(live ? [tile("bans in force", capture.active_bans), tile("bans made", totals.bans)]
      : [tile("bans that would be made", totals.bans), tile("hosts with evidence", capture.hosts_known)]),
    tile("BitTorrent flows", totals.bittorrent), tile("flows", totals.flows), tile("packets", totals.packets),
    ...(live ? [tile("packets lost", totals.lost, totals.lost > 0)] : []));
}

function counted(hosts, what) {
  const counts = new Map();
  for (const host of hosts) for (const name of host[what]) counts.set(name, (counts.get(name) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

function some(list, of) {
  return list.length < of ? `the first ${list.length} of ${whole.format(of)}` : "";
}

function unbanButton(ban) {
  const button = element("button", { type: "button", "aria-label": `Unban ${ban.address}` }, "Unban");
  button.addEventListener("click", () => unban(ban.address));
  return button;
}

function bansPart(key, capture, live, mayUnban) {
  const columns = [
    ["Host", (ban) => ban.address, "name"],
    ["Since", (ban) => when(ban.since), "when"],
    [live ? "Ends in" : "Lasts", (ban) => span(ban.remaining_seconds), "when"],
    ["Decided by", (ban) => chips([ban.technique])],
    ["Program", (ban) => ban.client || ""],
    ...(live ? [["Flows", (ban) => whole.format(ban.flows), "number"]] : []),
    ["Why", (ban) => ban.reason + (ban.times > 1 ? ` (ban number ${ban.times})` : "")],
  ];
  if (mayUnban) columns.push(["", unbanButton]);
  const total = live ? capture.active_bans : capture.totals.bans;
  return part(live ? "Bans in force" : "Bans that would be made", some(capture.bans, total), capture.bans,
    () => table(key + "bans", columns, capture.bans, true));
}

function hostsPart(key, capture) {
  const columns = [
    ["Host", (host) => host.address, "name"],
    ["State", (host) => element("span", { class: host.state === "banned" ? "state banned" : "state" }, host.state)],
    ["Flows", (host) => whole.format(host.flows), "number"],
    ["Evidence", (host) => [...chips(host.techniques), element("small", {}, host.evidence)]],
    ["Program", (host) => lines(host.clients)],
    ["Torrents", (host) => lines(host.torrents).map((text) => (typeof text === "string" ? element("code", {}, text) : text))],
    ["First", (host) => when(host.first), "when"],
    ["Last", (host) => [when(host.last), element("small", {}, host.origin)], "when"],
  ];
  return part("Hosts with evidence", some(capture.hosts, capture.hosts_known), capture.hosts,
    () => table(key + "hosts", columns, capture.hosts, true));
}

function details(key, capture, live) {
  const number = (name) => [name[0].toUpperCase() + name.slice(1), (row) => short(row[name]), "number"];
  const made = [
    part("Techniques", "pieces of evidence, then verdicts", capture.techniques, () => table(key + "techniques", [
      ["Technique", (row) => row.name], number("conclusive"), number("strong"), number("weak"), number("flows"), number("bans"),
    ], capture.techniques)),
  ];
  const names = counted(capture.hosts, "clients"), torrents = counted(capture.hosts, "torrents");
  const count = ["Hosts", (row) => whole.format(row[1]), "number"];
  if (names.length) made.push(part("Programs", "", names, () => table(key + "clients", [["Program", (row) => row[0]], count], names)));
  if (torrents.length) made.push(part("Torrents", "", torrents, () =>
    table(key + "torrents", [["Info-hash", (row) => element("code", {}, row[0])], count], torrents)));
  if (capture.interfaces.length) made.push(part("Interfaces", "", capture.interfaces, () => table(key + "interfaces", [
    ["Interface", (row) => row.name], ["State", (row) => row.state], ["Packets", (row) => short(row.received), "number"],
    ["Dropped", (row) => short(row.dropped + row.if_dropped), "number"],
  ], capture.interfaces)));
  const losses = capture.losses.filter((loss) => loss.count > 0);
  if (live) made.push(part("Losses", "", losses, () => table(key + "losses", [
    ["Place", (row) => row.place], ["Count", (row) => whole.format(row.count), "number"],
  ], losses)));
  return element("div", { class: "columns" }, ...made);
}

function section(capture, index, { live, unban: mayUnban }) {
  const key = `${index} `;
  const about = live ? `version ${capture.version}, bans are held by ${capture.backend}, running for ${span(capture.seconds)}`
    : `version ${capture.version}, capture of ${span(capture.seconds)}`;
  const plots = capture.history.length ? (live ? PLOTS : PLOTS_OF_REPORT).map((kind) => {
    const figure = element("figure", { class: kind.hue, "data-title": kind.title },
      element("figcaption", {}, kind.title, element("output")));
    figure.draw = () => plot(figure, capture, kind, live);
    return figure;
  }) : [];
  return element("section", { id: `capture-${index}` },
    element("h2", {}, capture.source), element("p", { class: "about" }, about),
    ...capture.troubles.map((trouble) => element("p", { class: "trouble" }, trouble)),
    tiles(capture, live), element("div", { class: live ? "plots" : "plots pairs" }, ...plots),
    bansPart(key, capture, live, mayUnban), hostsPart(key, capture), details(key, capture, live));
}

function contents(captures) {
  const link = (index) => element("a", { href: `#capture-${index}` }, captures[index].source);
  const rows = captures.map((capture, index) => ({ capture, index }));
  const number = (heading, of) => [heading, ({ capture }) => short(of(capture)), "number"];
  return element("div", { class: "contents" }, ...table("contents", [
    ["Capture", ({ index }) => link(index)], number("Packets", (of) => of.totals.packets), number("Flows", (of) => of.totals.flows),
    number("BitTorrent", (of) => of.totals.bittorrent), number("Bans", (of) => of.totals.bans),
  ], rows, true));
}

function resize() {
  for (const figure of place.querySelectorAll("figure")) figure.draw();
}

function draw() {
  if (!shown) return;
  const { captures, live, unban: mayUnban } = shown;
  document.getElementById("key").hidden = !mayUnban;
  const sections = captures.map((capture, index) => section(capture, index, shown));
  place.replaceChildren(...(captures.length > 1 ? [contents(captures)] : []), ...sections);
  resize();
  if (!live) say(captures.length === 1 ? "report of a replay" : `report of ${captures.length} replays`, "");
  document.title = `btblocker: ${captures.map((capture) => capture.source).slice(0, 2).join(", ")}`;
}

function say(text, kind) {
  status.textContent = text;
  status.className = kind;
}

async function refresh() {
  try {
    const answer = await fetch("overview.json", { cache: "no-store", signal: AbortSignal.timeout(EVERY) });
    if (!answer.ok) throw new Error(await answer.text());
    shown = await answer.json();
    draw();
    say(`live, as of ${clock(shown.captures[0].at, 1000)}`, "live");
  } catch (error) {
    const since = shown ? `; this is of ${clock(shown.captures[0].at, 1000)}` : "";
    say(`btblocker does not answer (${error.message.trim()})${since}`, "gone");
  }
}

async function unban(address) {
  if (!token.value) {
    said.textContent = "Type the token first.";
    token.focus();
    return;
  }
  if (!confirm(`Lift the ban of ${address}?`)) return;
  try {
    const answer = await fetch(`unban?address=${encodeURIComponent(address)}`, {
      method: "POST", headers: { Authorization: `Bearer ${token.value}` }, signal: AbortSignal.timeout(EVERY),
    });
    said.textContent = (await answer.text()).trim();
    if (answer.ok) await refresh();
  } catch (error) {
    said.textContent = `not lifted: ${error.message}`;
  }
}

let waiting = false;
window.addEventListener("resize", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; resize(); });
});
document.getElementById("key").addEventListener("submit", (event) => event.preventDefault());
const inside = document.getElementById("data").textContent;
if (inside) {
  shown = JSON.parse(inside);
  draw();
} else {
  refresh();
  setInterval(() => { if (!document.hidden) refresh(); }, EVERY);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
}
