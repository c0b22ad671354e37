/** Grids: one job a cell, over the values of two settings. */

import { signal } from "@preact/signals";
import { lineOf } from "./api";
import { job, randomSeed, refused } from "./draft";
import { ALL_FIELDS } from "./fields";
import { known, staged, start, stop } from "./jobs";
import { isObject, kept } from "./kept";
import { listed, takes } from "./models";
import { isOver, type Options } from "./types";

export const MOST_CELLS = 64;

export interface Axis {
  name: string; // of an option, or "" for none
  text: string; // its values, as typed
}

export interface Grid {
  x: { name: string; values: string[] };
  y: { name: string; values: string[] };
  cells: string[][]; // ids of jobs, by row
}

const isAxis = (value: unknown): value is Axis =>
  isObject(value) && typeof value.name === "string" && typeof value.text === "string";
const isNames = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((one) => typeof one === "string");
const isSide = (value: unknown) => isObject(value) && typeof value.name === "string" && isNames(value.values);
const isGrid = (value: unknown): value is Grid | null =>
  value === null ||
  (isObject(value) &&
    isSide(value.x) &&
    isSide(value.y) &&
    Array.isArray(value.cells) &&
    value.cells.every(isNames));

export const xAxis = kept<Axis>("x", { name: "steps", text: "5, 10, 20" }, isAxis);
export const yAxis = kept<Axis>("y", { name: "cfg_scale", text: "1, 3, 7" }, isAxis);
export const grid = kept<Grid | null>("grid", null, isGrid);
export const isSubmitting = signal(false);

const OTHERS: Record<string, string> = {
  seed: "Seed",
  prompts: "Prompt",
  negative_prompt: "Negative prompt",
};
const NAMES = [
  "steps",
  "cfg_scale",
  "seed",
  "sampler",
  "schedule",
  "prompts",
  "negative_prompt",
  "strength",
  "eta",
  "cfg_rescale",
  "shift",
  "cfg_scale_2",
  "clip_skip",
];

export const axisNames = (): string[] => NAMES.filter((name) => name === "prompts" || takes(name));
export const labelOf = (name: string): string => OTHERS[name] ?? ALL_FIELDS.get(name)?.label ?? name;

/** The names that an option's values are chosen from, if they are names. */
export function choicesOf(name: string): readonly string[] | null {
  const field = ALL_FIELDS.get(name);
  if (field?.kind !== "choice") return null;
  if (field.choices === "samplers") return listed.value?.samplers ?? [];
  if (field.choices === "schedules") return listed.value?.schedules ?? [];
  return field.choices;
}

/** The values of an axis: parts between commas, or between | for words; 1-5 and 10-50:10 are ranges. */
export function valuesOf(axis: Axis): string[] {
  if (axis.name === "") return [""];
  const isWords = axis.name === "prompts" || axis.name === "negative_prompt";
  const parts = axis.text
    .split(isWords ? "|" : ",")
    .map((one) => one.trim())
    .filter(Boolean);
  return [...new Set(isWords ? parts : parts.flatMap(ranged))];
}

function ranged(part: string): string[] {
  const match = /^(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)(?:\s*:\s*(\d+(?:\.\d+)?))?$/.exec(part);
  if (!match) return [part];
  const [first, last, step] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 1)];
  if (!(step > 0) || last < first) return [part];
  const count = Math.min(MOST_CELLS + 1, Math.floor((last - first) / step + 1e-9) + 1);
  return Array.from({ length: count }, (_, k) => String(Number((first + k * step).toFixed(6))));
}

function given(name: string, value: string): Options {
  if (name === "") return {};
  if (name === "prompts") return { prompts: [value] };
  const isNumber = ALL_FIELDS.get(name)?.kind === "number" && value !== "" && Number.isFinite(Number(value));
  return { [name]: isNumber ? Number(value) : value };
}

/** Submit the jobs of all cells, with one seed, and show them. */
export async function drawGrid(): Promise<void> {
  const x = { name: xAxis.value.name, values: valuesOf(xAxis.value) };
  const y = { name: yAxis.value.name, values: valuesOf(yAxis.value) };
  isSubmitting.value = true;
  refused.value = null;
  const cells: string[][] = [];
  try {
    const base: Options = { seed: randomSeed(), ...(await job()), count: 1 };
    for (const row of y.values) {
      const made: string[] = [];
      cells.push(made);
      for (const column of x.values) {
        made.push((await start({ ...base, ...given(x.name, column), ...given(y.name, row) })).id);
        grid.value = { x, y, cells: cells.map((one) => [...one]) };
        staged.value = { kind: "grid" };
      }
    }
  } catch (error) {
    for (const id of cells.flat()) await stop(id);
    refused.value = { line: lineOf(error), option: "grid" };
  } finally {
    isSubmitting.value = false;
  }
}

export async function stopGrid(): Promise<void> {
  for (const id of grid.value?.cells.flat() ?? []) {
    const cell = known.value.get(id);
    if (cell && !isOver(cell)) await stop(id);
  }
}

/** The grid as one picture, with its labels. */
export async function gridPicture(shown: Grid, dark: boolean): Promise<Blob> {
  const images = await Promise.all(shown.cells.map((row) => Promise.all(row.map(loaded))));
  const first = images.flat().find((one) => one !== null);
  const [width, height] = [first?.naturalWidth ?? 128, first?.naturalHeight ?? 128];
  const [left, top, gap] = [140, 56, 6];
  const canvas = document.createElement("canvas");
  canvas.width = left + shown.x.values.length * (width + gap);
  canvas.height = top + shown.y.values.length * (height + gap);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser draws no canvas");
  context.fillStyle = dark ? "#16191c" : "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = dark ? "#e8eaec" : "#1c2024";
  context.font = "13px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "center";
  shown.x.values.forEach((value, k) => {
    const text = shown.x.name ? `${labelOf(shown.x.name)} ${value}` : "";
    context.fillText(text, left + k * (width + gap) + width / 2, top / 2, width);
  });
  context.textAlign = "right";
  shown.y.values.forEach((value, k) => {
    const text = shown.y.name ? `${labelOf(shown.y.name)} ${value}` : "";
    context.fillText(text, left - 12, top + k * (height + gap) + height / 2, left - 20);
  });
  images.forEach((row, r) => {
    row.forEach((image, c) => {
      if (image) context.drawImage(image, left + c * (width + gap), top + r * (height + gap), width, height);
    });
  });
  return new Promise((resolve, reject) =>
    canvas.toBlob(
      (blob) => (blob ? resolve(blob) : reject(new Error("the picture cannot be made"))),
      "image/png",
    ),
  );
}

async function loaded(id: string): Promise<HTMLImageElement | null> {
  const output = known.value.get(id)?.outputs[0];
  if (!output?.media.startsWith("image/")) return null;
  const image = new Image();
  image.src = output.url;
  await image.decode();
  return image;
}
