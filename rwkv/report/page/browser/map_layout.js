// The layout of the map's fields: a treemap.

// Squarified treemap: rows of fields along the shorter side. A row ends when another field would make it less square.
function layOut(fields, x, y, width, height) {
  let rest = fields.reduce((sum, field) => sum + field.count, 0);
  const placed = [];
  for (let i = 0; i < fields.length;) {
    const side = Math.min(width, height),
      area = width * height;
    let end = i,
      sum = 0,
      worst = Infinity;
    while (end < fields.length) {
      const wider = sum + fields[end].count;
      const depth = ((wider / rest) * area) / side;
      const lengths = [fields[i].count, fields[end].count].map((count) => (side * count) / wider);
      const next = Math.max(...lengths.map((length) => Math.max(length / depth, depth / length)));
      if (next > worst) break;
      [worst, sum, end] = [next, wider, end + 1];
    }
    const depth = ((sum / rest) * area) / side;
    for (let along = 0; i < end; i++) {
      const length = (side * fields[i].count) / sum;
      placed.push(
        width >= height
          ? { ...fields[i], x, y: y + along, width: depth, height: length }
          : { ...fields[i], x: x + along, y, width: length, height: depth },
      );
      along += length;
    }
    if (width >= height) {
      x += depth;
      width -= depth;
    } else {
      y += depth;
      height -= depth;
    }
    rest -= sum;
  }
  return placed;
}
