/** Short lines that come and go. */

import { signal } from "@preact/signals";

export interface Toast {
  id: number;
  text: string;
}

const SECONDS = 7;
let count = 0;
export const toasts = signal<Toast[]>([]);

export function say(text: string): void {
  const id = ++count;
  toasts.value = [...toasts.value.slice(-2), { id, text }];
  setTimeout(() => dismiss(id), SECONDS * 1000);
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}
