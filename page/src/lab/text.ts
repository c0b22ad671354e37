/** Names and numbers of the lab in words. */

import { capital } from "../text";

export const words = (name: string): string => name.replaceAll("_", " ");
export const title = (name: string): string => capital(words(name));

const DIGITS = 4;

/** Four digits, as many as the pages of the documentation have; whole numbers are whole. */
export function figure(value: number): string {
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e12) return value.toLocaleString("en");
  if (size < 1e-4 || size >= 1e12) return value.toExponential(DIGITS - 1).replace(/\.?0+e/, "e");
  return value.toLocaleString("en", { maximumSignificantDigits: DIGITS });
}

export const took = (seconds: number): string => `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
export const relation = (sign: string): string => ({ "<=": "≤", ">=": "≥" })[sign] ?? sign;

/** The first paragraph of the prose, and the others; formulas are indented by four spaces. */
export function paragraphs(about: string): { text: string; isFormula: boolean }[] {
  return about
    .split(/\n\s*\n/)
    .filter((part) => part.trim())
    .map((part) =>
      part.startsWith("    ")
        ? { text: part.replace(/^ {4}/gm, "").trimEnd(), isFormula: true }
        : { text: part.split(/\s+/).join(" ").trim(), isFormula: false },
    );
}
