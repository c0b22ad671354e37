/** Signals whose values this browser remembers. */

import { effect, type Signal, signal } from "@preact/signals";

export function kept<T>(name: string, initial: T, isRight: (value: unknown) => value is T): Signal<T> {
  const key = `scorefield.${name}`;
  const made = signal(read(key, initial, isRight));
  effect(() => write(key, made.value));
  return made;
}

function read<T>(key: string, initial: T, isRight: (value: unknown) => value is T): T {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key) ?? "null");
    return isRight(value) ? value : initial;
  } catch {
    return initial; // no storage, or something else in it
  }
}

function write(key: string, value: unknown): void {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // a full or forbidden storage: the value lasts as long as the page
  }
}

export const isText = (value: unknown): value is string => typeof value === "string";
export const isFlag = (value: unknown): value is boolean => typeof value === "boolean";
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
