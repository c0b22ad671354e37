import type { Model } from "../types";

const COUNT = 4;
const OTHERS = [
  "a lighthouse in the fog",
  "a fox in the snow, watercolour",
  "a bowl of oranges",
  "a street in the rain",
];

/** Prompts to begin with, from what a model that ships knows. */
export function suggestions(model: Model | null): string[] {
  const knows = model?.knows ?? {};
  const one = (kind: string, k: number): string => {
    const all = knows[kind] ?? [];
    return all[(k * 7 + 3) % all.length] ?? "";
  };
  if (!knows.things?.length) return OTHERS;
  return Array.from({ length: COUNT }, (_, k) => {
    const words = `${one("colours", k)} ${one("things", k * 5 + 2)} ${one("places", k)}`
      .trim()
      .replace(/\s+/g, " ");
    return `${/^[aeiou]/.test(words) ? "an" : "a"} ${words}`;
  });
}
