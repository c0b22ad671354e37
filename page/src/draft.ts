/** What is about to be drawn: the words, options and pictures of the panel. */

import { computed, signal } from "@preact/signals";
import { ALL_FIELDS, PICTURE_NAMES, type PictureName } from "./fields";
import { isFlag, isObject, isText, kept } from "./kept";
import { defaultOf, listed, modelName, options, takes } from "./models";
import type { Options } from "./types";

export interface Picture {
  blob: Blob;
  url: string;
  name: string;
  width: number;
  height: number;
}

export const prompt = kept("prompt", "", isText);
export const negative = kept("negative", "", isText);
/** Options that the user has set; the others are the model's. */
export const values = kept<Options>("values", {}, isObject);
export const seed = kept("seed", "", isText);
export const keepSeed = kept("keepSeed", false, isFlag);
export const keepSteps = kept("keepSteps", false, isFlag);
export const pictures = signal<Partial<Record<PictureName, Picture>>>({});
export const mask = signal<Picture | null>(null);
export const maskOpen = signal(false);
/** Why the last request was refused, and the option at fault. */
export const refused = signal<{ line: string; option: string | null } | null>(null);

export const current = (name: string): unknown => values.value[name] ?? defaultOf(name) ?? fallback(name);
/** What the server does where a model has no value of its own. */
const fallback = (name: string): unknown => (name === "strength" ? (mask.value ? 1 : 0.75) : null);
export const isSet = (name: string): boolean => values.value[name] !== undefined;

export function set(name: string, value: unknown): void {
  const { [name]: _, ...others } = values.value;
  values.value = value === undefined || value === "" ? others : { ...others, [name]: value };
  if (refused.value?.option === name) refused.value = null;
}

export const size = computed<[number, number]>(() => [
  Number(current("width")) || 0,
  Number(current("height")) || 0,
]);
export const aspect = computed(() => {
  const [width, height] = size.value;
  return width > 0 && height > 0 ? width / height : 1;
});

export async function asPicture(blob: Blob, name: string): Promise<Picture> {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  bitmap.close();
  return { blob, url: URL.createObjectURL(blob), name, width, height };
}

export async function givePicture(name: PictureName, blob: Blob, called: string): Promise<void> {
  const picture = await asPicture(blob, called);
  takePicture(name);
  pictures.value = { ...pictures.value, [name]: picture };
}

export function takePicture(name: PictureName): void {
  const { [name]: gone, ...others } = pictures.value;
  if (gone) URL.revokeObjectURL(gone.url);
  pictures.value = others;
  if (name === "image") setMask(null);
}

export function setMask(picture: Picture | null): void {
  if (mask.value) URL.revokeObjectURL(mask.value.url);
  mask.value = picture;
}

const OF_IMAGE = new Set(["strength", "fit", "exact_steps", "paste"]);

/** The job that the panel describes, of only what its model takes. */
export async function job(): Promise<Options> {
  const hasImage = pictures.value.image !== undefined && takes("image");
  const chosen = Object.entries(values.value).filter(
    ([name]) => takes(name) && (hasImage || !OF_IMAGE.has(name)),
  );
  const made: Options = { model: modelName.value, prompts: [prompt.value], ...Object.fromEntries(chosen) };
  if (takes("negative_prompt") && negative.value.trim()) made.negative_prompt = negative.value;
  if (keepSeed.value && seed.value.trim()) made.seed = seed.value.trim();
  for (const name of PICTURE_NAMES) {
    const picture = pictures.value[name];
    if (picture && takes(name)) made[name] = await base64(picture.blob);
  }
  if (hasImage && mask.value && takes("mask")) made.mask = await base64(mask.value.blob);
  if (keepSteps.value) made.keep_steps = true;
  return made;
}

export async function base64(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).replace(/^[^,]*,/, ""));
    reader.onerror = () => reject(new Error("the picture cannot be read"));
    reader.readAsDataURL(blob);
  });
}

const PANEL = new Set(["width", "height", "count", "paste", ...ALL_FIELDS.keys()]);

/** Take the settings of a record or a job into the panel; the number of those that differ from the model's own. */
export function adopt(settings: Options): void {
  const { prompts, prompt: alone, negative_prompt, model, seed: number } = settings;
  const words = Array.isArray(prompts) ? prompts[0] : (prompts ?? alone);
  if (typeof words === "string") prompt.value = words;
  negative.value = typeof negative_prompt === "string" ? negative_prompt : "";
  if (typeof model === "string" && listed.value?.models.some((one) => one.name === model))
    modelName.value = model;
  if (number !== undefined && number !== null) {
    seed.value = String(number);
    keepSeed.value = true;
  }
  const own = options.value?.name === modelName.value ? options.value.defaults : {};
  const given = Object.entries(settings).filter(
    ([name, value]) => PANEL.has(name) && value !== null && value !== undefined && value !== own[name],
  );
  values.value = Object.fromEntries(
    given.map(([name, value]) => [
      name,
      name === "cfg_interval" && Array.isArray(value) ? value.join(",") : value,
    ]),
  );
  refused.value = null;
}

/** A seed that JavaScript's numbers hold, as the server picks them. */
export const randomSeed = (): string => String(crypto.getRandomValues(new Uint32Array(1))[0]);
