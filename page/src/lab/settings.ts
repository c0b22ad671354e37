/** The settings that one has typed, and what is wrong with them. */

import { signal } from "@preact/signals";
import type { Experiment, Schema, Value } from "./api";
import { figure } from "./text";

type Typed = string | boolean;

const drafts = signal<Record<string, Record<string, Typed>>>({});

export const typed = (experiment: Experiment, setting: string): Typed => {
  const own = experiment.settings[setting] ?? "";
  return drafts.value[experiment.name]?.[setting] ?? (typeof own === "boolean" ? own : String(own));
};

export function type(experiment: Experiment, setting: string, value: Typed): void {
  const { [setting]: _, ...others } = drafts.value[experiment.name] ?? {};
  const isOwn = String(value) === String(experiment.settings[setting]);
  drafts.value = {
    ...drafts.value,
    [experiment.name]: isOwn ? others : { ...others, [setting]: value },
  };
}

export const isChanged = (experiment: Experiment): boolean =>
  Object.keys(drafts.value[experiment.name] ?? {}).length > 0;

export function forget(experiment: Experiment): void {
  drafts.value = { ...drafts.value, [experiment.name]: {} };
}

export const isNumber = (schema: Schema): boolean => schema.type === "integer" || schema.type === "number";

/** The least and the largest value, where there are such. */
export function bounds(schema: Schema): [number | undefined, number | undefined] {
  const next = schema.type === "integer" ? 1 : 0;
  const { exclusiveMinimum: above, exclusiveMaximum: below } = schema;
  return [
    schema.minimum ?? (above === undefined ? undefined : above + next),
    schema.maximum ?? (below === undefined ? undefined : below - next),
  ];
}

export function range(schema: Schema): string {
  const [least, most] = bounds(schema);
  if (least !== undefined && most !== undefined) return `${figure(least)} to ${figure(most)}`;
  if (least !== undefined) return `at least ${figure(least)}`;
  return most === undefined ? "" : `at most ${figure(most)}`;
}

/** What is wrong with a value; nothing if it is right. */
export function wrong(schema: Schema, value: Typed): string {
  if (!isNumber(schema)) return "";
  const [least, most] = bounds(schema);
  const number = Number(value);
  const isRight =
    String(value).trim() !== "" &&
    Number.isFinite(number) &&
    (schema.type !== "integer" || Number.isInteger(number)) &&
    number >= (least ?? number) &&
    number <= (most ?? number);
  if (isRight) return "";
  const kind = schema.type === "integer" ? "whole number" : "number";
  return `This must be a ${[kind, range(schema)].filter(Boolean).join(", ")}.`;
}

/** The settings as the server takes them; null if one is wrong. */
export function settingsOf(experiment: Experiment): Record<string, Value> | null {
  const found: Record<string, Value> = {};
  for (const [name, schema] of Object.entries(experiment.schemas)) {
    const value = typed(experiment, name);
    if (wrong(schema, value)) return null;
    found[name] = isNumber(schema) ? Number(value) : value;
  }
  return found;
}
