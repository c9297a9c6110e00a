// The comparison of the algorithms, and their superiority.

const LOWER_IS_BETTER = { AUC: false };

function drawComparison({ facts }) {
  const rows = facts.comparison;
  if (!rows.length) return;
  show("comparison");
  const people = Math.max(...rows.map((row) => row.users)),
    scope = people > 1 ? "Means over the people, weighted by reviews" : "One person";
  document.getElementById("comparison-title").textContent = people > 1 ? `Comparison of ${people} people` : "Comparison";
  const hasWidths = rows.some((row) => Object.values(row.metrics).some((metric) => metric.half_width != null));
  document.getElementById("comparison-note").textContent = `${scope}${hasWidths ? `; ± is a ${percent(facts.confidence, 0)} interval` : ""}.`;
  const metrics = [...new Set(rows.flatMap((row) => Object.keys(row.metrics)))];
  const head = ["", "people", "reviews", ...metrics].map((text) => element("th", { textContent: text }));
  const best = metrics.map((metric) => {
    const values = rows.map((row) => row.metrics[metric]?.value).filter((value) => value != null);
    return LOWER_IS_BETTER[metric] === false ? Math.max(...values) : Math.min(...values);
  });
  const lines = rows.map((row, i) =>
    element(
      "tr",
      {},
      nameCell(row.name, i),
      element("td", { textContent: wholeNumber(row.users) }),
      element("td", { textContent: wholeNumber(row.reviews) }),
      ...metrics.map((metric, m) => estimateCell(row.metrics[metric], best[m])),
    ),
  );
  document
    .getElementById("comparison-table")
    .replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines));
  drawSuperiority(facts.superiority);
  drawCompared(facts.compared, rows);
}

function estimateCell(estimate, best) {
  if (estimate?.value == null) return element("td", { textContent: "–" });
  const cell = element("td", {
    className: estimate.value === best ? "best" : "",
    textContent: estimate.value.toFixed(4),
  });
  if (estimate.half_width != null)
    cell.append(element("small", { textContent: ` ± ${estimate.half_width.toFixed(4)}` }));
  return cell;
}

function drawSuperiority(superiority) {
  const names = Object.keys(superiority);
  if (!names.length) return;
  show("superiority");
  const head = ["", ...names].map((text) => element("th", { textContent: text }));
  const lines = names.map((name, i) =>
    element(
      "tr",
      {},
      nameCell(name, i),
      ...names.map((other) => {
        const share = superiority[name][other];
        const cell = element("td", { textContent: share == null ? "" : percent(share, 0) });
        if (share != null)
          cell.style.background = withAlpha(share >= 0.5 ? "#11a08a" : "#e4762b", Math.abs(share - 0.5) * 0.7);
        return cell;
      }),
    ),
  );
  document
    .getElementById("superiority-table")
    .replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines));
}

// A line for each person, if there are several.
function drawCompared(compared, rows) {
  const people = Object.entries(compared),
    names = rows.map((row) => row.name);
  if (!people.length) return;
  show("compared");
  const lines = people.map(([person, losses]) => {
    const best = Math.min(...names.map((name) => losses[name] ?? Infinity));
    const cell = (name) =>
      element("td", {
        textContent: losses[name] == null ? "–" : losses[name].toFixed(4),
        className: losses[name] === best ? "best" : "",
      });
    return [person, ...names.map(cell)];
  });
  fillTable("compared-table", ["", ...names.map((name, i) => nameCell(name, i, "th"))], lines);
}
