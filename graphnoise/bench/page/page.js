"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Charts. Expressions are interpreted, so that the page needs no permission to evaluate text.
const config = JSON.parse(document.getElementById("config").textContent);
const drawn = all(".chart").map(async (chart) => {
  const spec = JSON.parse(chart.textContent);
  const { view } = await vegaEmbed(chart, spec, { config, renderer: "svg", actions: false, ast: true });
  return [chart.closest("figure"), view];
});
Promise.all(drawn).then(() => { document.documentElement.dataset.drawn = drawn.length; });
all(".legend button").forEach((button) => button.addEventListener("click", async () => {
  const figure = button.closest("figure"), on = button.getAttribute("aria-pressed") !== "true";
  all(".legend button", figure).forEach((other) => other.setAttribute("aria-pressed", on && other === button));
  for (const [owner, view] of await Promise.all(drawn))
    if (owner === figure) view.signal("shown", on ? button.dataset.series : "").runAsync();
}));

// CSV files.
const csv = (rows) => rows.map((row) => row.map((text) => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text).join(",") + "\n").join("");
function download(name, rows) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
const raw = (cell) => cell.dataset.raw ?? cell.textContent;
all(".download").forEach((button) => button.addEventListener("click", () => {
  const rows = all("tr", button.parentElement).map((row) => [...row.cells].map(raw));
  download(button.dataset.name.replace(/[^\w]+/g, "-").toLowerCase() + ".csv", rows);
}));

// Sorting.
all(".sortable th button").forEach((button) => button.addEventListener("click", () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0], place = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  all("th", head.parentElement).forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const order = (a, b) => a.dataset.raw && b.dataset.raw ? a.dataset.raw - b.dataset.raw : compare(raw(a), raw(b));
  body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * order(a.cells[place], b.cells[place])));
}));

// Suspects: filters, and decisions that stay in the browser until they are saved.
const STEP = 24;
all(".audit").forEach((audit) => {
  const find = (selector) => audit.querySelector(selector);
  const cards = all(".suspect", audit), choice = (card) => card.querySelector(".decision");
  const key = "graphnoise " + find(".suspects").dataset.audit + " " + cards.map((card) => card.dataset.node).join(" ").slice(0, 500);
  let limit = STEP, kept = {};
  try { kept = JSON.parse(localStorage.getItem(key)) ?? {}; } catch { /* The browser keeps nothing for files. */ }
  function show() {
    const words = find(".search").value.toLowerCase(), given = find(".given").value, open = find(".open").checked;
    const fits = cards.filter((card) => card.textContent.toLowerCase().includes(words)
      && (!given || card.dataset.given === given) && !(open && choice(card).value));
    const shown = new Set(fits.slice(0, limit));
    cards.forEach((card) => { card.hidden = !shown.has(card); });
    find(".more").hidden = fits.length <= limit;
    const decided = cards.filter((card) => choice(card).value).length;
    find(".count").textContent = `${shown.size} of ${fits.length} shown, ${decided} decided`;
  }
  function mark(card) {
    all("button", card).forEach((button) => button.setAttribute("aria-pressed", button.value === choice(card).value));
    card.classList.toggle("decided", choice(card).value !== "");
  }
  function decide(card, value) {
    choice(card).value = value;
    mark(card);
    kept[card.dataset.node] = value;
    try { localStorage.setItem(key, JSON.stringify(kept)); } catch { /* As above. */ }
    show();
  }
  cards.forEach((card) => {
    choice(card).value = kept[card.dataset.node] ?? "";
    mark(card);
    choice(card).addEventListener("change", () => decide(card, choice(card).value));
    all("button", card).forEach((button) => button.addEventListener("click", () =>
      decide(card, choice(card).value === button.value ? "" : button.value)));
  });
  for (const event of ["input", "change"])
    find(".filters").addEventListener(event, () => { limit = STEP; show(); });
  find(".more").addEventListener("click", () => { limit += STEP; show(); });
  find(".save").addEventListener("click", () => {
    const made = cards.filter((card) => choice(card).value);
    download("decisions.csv", [["node", "given", "decision"],
      ...made.map((card) => [card.dataset.node, card.dataset.given, choice(card).value])]);
  });
  show();
});
