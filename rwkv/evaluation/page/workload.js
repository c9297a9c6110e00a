// How many reviews a desired retention costs, and when they fall.

function drawWorkload({ facts }) {
  show("workload");
  const { retention } = facts.workload, slider = document.getElementById("workload-slider");
  if (slider.max === "" || Number(slider.max) !== retention.length - 1) {
    Object.assign(slider, { min: 0, max: retention.length - 1, step: 1 });
    slider.value = nearest(retention, facts.retention);
  }
  slider.oninput = () => drawChosenRetention(facts, Number(slider.value));
  drawChosenRetention(facts, Number(slider.value));
}

function nearest(values, wanted) {
  return values.reduce((best, value, i) => (Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function drawChosenRetention(facts, chosen) {
  const { retention, reviews, recall } = facts.workload, daily = reviews.map(mean), accent = cssColour("accent");
  document.getElementById("workload-value").textContent = percent(retention[chosen], 0);
  const traces = [{ x: retention, y: daily, name: "reviews a day", mode: "lines+markers", line: { color: accent, width: 2.5, shape: "spline" }, marker: { size: retention.map((_, i) => (i === chosen ? 13 : 6)) }, hovertemplate: "%{y:.0f} reviews a day at %{x:.0%}<extra></extra>" }];
  const layout = {
    showlegend: false, margin: { l: 50, r: 50, t: 10, b: 44 },
    xaxis: axis({ tickformat: ".0%", title: { text: "desired retention" } }), yaxis: axis({ rangemode: "tozero", title: { text: "reviews a day" } }),
  };
  if (recall.some((value) => value !== null)) {
    traces.push({ x: retention, y: recall, yaxis: "y2", mode: "lines", line: { color: cssColour("quiet"), dash: "dot" }, hovertemplate: "mean recall %{y:.1%}<extra></extra>" });
    layout.yaxis2 = axis({ overlaying: "y", side: "right", tickformat: ".0%", showgrid: false, title: { text: "mean recall (dotted)" } });
  }
  drawChart("workload-retention", traces, layout);
  const days = reviews[chosen].map((_, day) => day + 1);
  drawChart("workload-days", [{ type: "bar", x: days, y: reviews[chosen], marker: { color: accent }, hovertemplate: "day %{x}: %{y:.0f} reviews<extra></extra>" }], {
    bargap: 0.15, margin: { l: 50, r: 14, t: 10, b: 44 },
    xaxis: axis({ title: { text: "days from now" } }), yaxis: axis({ title: { text: `reviews at ${percent(retention[chosen], 0)}` } }),
  });
}
