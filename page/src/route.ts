/** Where one is: the part of the page, and what it shows, in the address behind the #. */

import { computed, signal } from "@preact/signals";

export const TABS = [
  { name: "make", label: "Make" },
  { name: "inside", label: "See inside" },
  { name: "play", label: "Play" },
  { name: "lab", label: "Lab" },
] as const;
export type Tab = (typeof TABS)[number]["name"];

const hash = signal(location.hash);
window.addEventListener("hashchange", () => {
  hash.value = location.hash;
});

const parts = computed(() => hash.value.replace(/^#\/?/, "").split("/").map(decodeURIComponent));
export const tab = computed<Tab>(() => TABS.find((one) => one.name === parts.value[0])?.name ?? "make");
export const place = computed(() => parts.value.slice(1));

export const address = (to: Tab, ...more: (string | number)[]): string =>
  `#/${[to, ...more].map(encodeURIComponent).join("/")}`;

export function go(to: Tab, ...more: (string | number)[]): void {
  location.hash = address(to, ...more);
}
