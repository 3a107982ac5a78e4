// What an image of a run can be.

const KINDS = [
  ["correct", "✓ correct"],
  ["incorrect", "✗ incorrect"],
  ["unknown", "? true class unknown"],
  ["blank", "○ blank map"],
  ["failed", "! failed"],
];
