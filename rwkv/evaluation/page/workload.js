// How many reviews a desired retention costs, and when they fall.

function drawWorkload({ facts }) {
  show("workload");
  const { retention } = facts.workload,
    slider = document.getElementById("workload-slider");
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
  const { retention, reviews, minutes } = facts.workload,
    accent = cssColour("accent"),
    quiet = cssColour("quiet");
  document.getElementById("workload-value").textContent = percent(retention[chosen], 0);
  const traces = [
    {
      x: retention,
      y: reviews.map(mean),
      name: "reviews a day",
      mode: "lines+markers",
      line: { color: accent, width: 2.5 },
      marker: { size: retention.map((_, i) => (i === chosen ? 13 : 6)) },
      hovertemplate: "%{y:.0f} reviews a day at %{x:.0%}<extra></extra>",
    },
  ];
  traces.push({
    x: retention,
    y: minutes.map(mean),
    yaxis: "y2",
    name: "minutes a day (right)",
    mode: "lines",
    line: { color: quiet, width: 2, dash: "dot" },
    hovertemplate: "%{y:.0f} minutes a day at %{x:.0%}<extra></extra>",
  });
  drawChart("workload-retention", traces, {
    margin: { l: 50, r: 40, t: 30, b: 44 },
    xaxis: axis({ tickformat: ".0%", title: { text: "desired retention" } }),
    yaxis: axis({ rangemode: "tozero", title: { text: "reviews a day" } }),
    yaxis2: axis({ overlaying: "y", side: "right", rangemode: "tozero", showgrid: false }),
  });
  const days = reviews[chosen].map((_, day) => day + 1);
  drawChart(
    "workload-days",
    [
      {
        type: "bar",
        x: days,
        y: reviews[chosen],
        customdata: minutes[chosen],
        marker: { color: accent },
        hovertemplate: "day %{x}: %{y:.0f} reviews, %{customdata:.0f} minutes<extra></extra>",
      },
    ],
    {
      bargap: 0.15,
      margin: { l: 50, r: 14, t: 30, b: 44 },
      xaxis: axis({ title: { text: "days from now" } }),
      yaxis: axis({ title: { text: `reviews at ${percent(retention[chosen], 0)}` } }),
    },
  );
}
