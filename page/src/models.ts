/** The models of the server, and what the chosen one takes. */

import { computed, effect, signal } from "@preact/signals";
import { getModels, getOptions, lineOf } from "./api";
import { isText, kept } from "./kept";
import type { Model, ModelOptions, Models } from "./types";

export const listed = signal<Models | null>(null);
export const modelName = kept("model", "", isText);
export const options = signal<ModelOptions | null>(null);
export const modelError = signal("");

const cache = new Map<string, ModelOptions>();

export const model = computed<Model | null>(
  () => listed.value?.models.find((one) => one.name === modelName.value) ?? null,
);
const taken = computed(() => new Set(options.value?.options));
export const takes = (name: string): boolean => taken.value.has(name);
export const defaultOf = (name: string): unknown => options.value?.defaults[name];
export const drawsFilms = computed(() => taken.value.has("frames"));

export async function loadModels(): Promise<void> {
  const found = await getModels();
  listed.value = found;
  if (!found.models.some((one) => one.name === modelName.value)) {
    modelName.value = found.models[0]?.name ?? "";
  }
}

effect(() => {
  const name = modelName.value;
  if (listed.value === null || name === "") return;
  const known = cache.get(name);
  if (known) {
    options.value = known;
    modelError.value = "";
    return;
  }
  getOptions(name).then(
    (found) => {
      cache.set(name, found);
      if (modelName.peek() === name) {
        options.value = found;
        modelError.value = "";
      }
    },
    (error: unknown) => {
      if (modelName.peek() === name) modelError.value = lineOf(error);
    },
  );
});
